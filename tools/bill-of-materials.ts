/** A CycloneDX 1.6 bill of materials from a lockfile; the same lockfile gives the same bytes. Pure. */
import type { Locked, Lockfile } from "./lockfile.ts";

const purlOf = (id: string): string => {
  const at = id.lastIndexOf("@");
  const name = id.slice(0, at).replace(/^@/, "%40");
  return `pkg:npm/${name}@${id.slice(at + 1).replaceAll("+", "%2B")}`;
};

/** True when a package for one system may be a part of this one: their names begin alike. */
export function isFor(id: string, { name }: Pick<Locked, "name">): boolean {
  const base = (text: string) => text.replace(/^@/, "").split(/[/@-]/)[0];
  return base(id) === base(name);
}

function componentOf(each: Locked, isRuntime: boolean, licence: string) {
  const id = `${each.name}@${each.version}`;
  const [group, name] = each.name.startsWith("@") ? each.name.split("/") : [undefined, each.name];
  const isExpression = / (?:OR|AND) /.test(licence);
  return {
    type: "library",
    "bom-ref": purlOf(id),
    ...(group ? { group } : {}),
    ...{ name, version: each.version, scope: isRuntime ? "required" : "excluded" },
    hashes: [
      {
        alg: "SHA-512",
        content: Buffer.from(each.integrity.replace(/^sha512-/, ""), "base64").toString("hex"),
      },
    ],
    licenses: [isExpression ? { expression: licence } : { license: { id: licence } }],
    purl: purlOf(id),
  };
}

/** The bill; `licences` by `name@version`. */
export function billOf(
  { packages, needs, importers }: Lockfile,
  runtime: ReadonlySet<string>,
  licences: ReadonlyMap<string, string>,
) {
  const ids = new Set(packages.map(({ name, version }) => `${name}@${version}`));
  const direct = importers
    .map(({ name, version }) => `${name}@${version}`)
    .filter((id) => ids.has(id));
  const refs = (of: readonly string[]) =>
    [...new Set(of.filter((id) => ids.has(id)).map(purlOf))].toSorted();
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { component: { type: "application", "bom-ref": "chom", name: "chom" } },
    components: packages.map((each) => {
      const id = `${each.name}@${each.version}`;
      return componentOf(each, runtime.has(id), licences.get(id) ?? "unknown");
    }),
    dependencies: [
      { ref: "chom", dependsOn: refs(direct) },
      ...[...ids].map((id) => ({ ref: purlOf(id), dependsOn: refs(needs.get(id) ?? []) })),
    ],
  };
}
