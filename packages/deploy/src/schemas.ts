/**
 * Schemas of the objects, offline: the validators and types that are generated from the OpenAPI of Kubernetes and the
 * CRDs of KEDA, cert-manager and External Secrets. The validators know values; a field that does not exist passes
 * them, so the TypeScript compiler looks for those, as `kubectl --validate=strict` would.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { runCommand } from "@chom/stack/run-command";
import { type Manifest, nameOf } from "./manifest.ts";

/** Where the model of each group and version is; kinds of other groups are not checked, and are named. */
const packages: Readonly<Record<string, string>> = {
  v1: "kubernetes-models/v1",
  "apps/v1": "kubernetes-models/apps/v1",
  "batch/v1": "kubernetes-models/batch/v1",
  "policy/v1": "kubernetes-models/policy/v1",
  "networking.k8s.io/v1": "kubernetes-models/networking.k8s.io/v1",
  "scheduling.k8s.io/v1": "kubernetes-models/scheduling.k8s.io/v1",
  "keda.sh/v1alpha1": "@kubernetes-models/keda/keda.sh/v1alpha1",
  "cert-manager.io/v1": "@kubernetes-models/cert-manager/cert-manager.io/v1",
  "external-secrets.io/v1": "@kubernetes-models/external-secrets/external-secrets.io/v1",
};

type Model = new (data: object) => { validate: () => void };

export type SchemaResult = {
  /** A line an object and fault. */
  readonly faults: string[];
  /** Objects whose schema is not here. */
  readonly unchecked: string[];
};

/** Checks values, then looks for fields that do not exist. */
export async function checkSchemas(manifests: readonly Manifest[]): Promise<SchemaResult> {
  const known = manifests.filter(({ apiVersion }) => packages[apiVersion] !== undefined);
  const unchecked = manifests.filter((manifest) => !known.includes(manifest)).map(nameOf);
  const values = await Promise.all(known.map(valueFaults));
  return { faults: [...values.flat(), ...(await fieldFaults(known))], unchecked };
}

async function valueFaults(manifest: Manifest): Promise<string[]> {
  const models = (await import(packages[manifest.apiVersion] as string)) as Record<string, Model>;
  const model = models[manifest.kind];
  if (!model) return [`${nameOf(manifest)}: no such kind in ${manifest.apiVersion}`];
  try {
    new model(manifest).validate();
    return [];
  } catch (error) {
    return [`${nameOf(manifest)}: ${(error as Error).message}`];
  }
}

/** One constant a line, so that the compiler's line is the object's. */
async function fieldFaults(manifests: readonly Manifest[]): Promise<string[]> {
  const folder = fileURLToPath(new URL("../dist/manifests", import.meta.url));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const lines = manifests.map((manifest, index) => {
    const from = JSON.stringify(packages[manifest.apiVersion]);
    const type = `import(${from}).I${manifest.kind}`;
    return `export const m${index}: ${type} = ${JSON.stringify(manifest)};`;
  });
  writeFileSync(`${folder}/objects.ts`, `${lines.join("\n")}\n`);
  const tsc = createRequire(import.meta.url)
    .resolve("typescript/package.json")
    .replace(/package\.json$/, "bin/tsc");
  const flags = "--noEmit --strict --skipLibCheck --module nodenext --target es2024 --pretty false";
  const result = await runCommand(
    process.execPath,
    [tsc, ...flags.split(" "), "--ignoreConfig", `${folder}/objects.ts`],
    { timeoutMs: 300_000 },
  );
  rmSync(folder, { recursive: true, force: true });
  return result.stdout.split("\n").flatMap((line) => {
    const [, row, message] = /objects\.ts\((\d+),\d+\): error \w+: (.*)/.exec(line) ?? [];
    const manifest = manifests[Number(row) - 1];
    if (manifest) return [`${nameOf(manifest)}: ${message}`];
    return /^error /.test(line) ? [line] : [];
  });
}
