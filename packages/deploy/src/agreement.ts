/** What the manifests say of CHOM itself: settings, consumers, secrets and times must be the ones of this release. */
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { consumers } from "@chom/shared/topology/consumers";
import {
  at,
  containersOf,
  type JsonObject,
  listAt,
  type Manifest,
  nameOf,
  podOf,
} from "./manifest.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Every `CHOM_…` in sources that are no tests. */
const namesIn = (pattern: string): readonly string[] =>
  globSync(pattern, { cwd: root })
    .filter((path) => !path.endsWith(".test.ts"))
    .flatMap((path) => readFileSync(root + path, "utf8").match(/\bCHOM_[A-Z0-9_]+\b/g) ?? []);

const read = new Map<string, ReadonlySet<string>>();

/** Every `CHOM_…` that the sources of a service, or what all services share, read. They do not change while this runs. */
function settingsOf(service: string): ReadonlySet<string> {
  const patterns = ["packages/shared/src/**/*.ts", "packages/cli/src/**/*.ts"];
  const known =
    read.get(service) ?? new Set([`services/${service}/src/**/*.ts`, ...patterns].flatMap(namesIn));
  read.set(service, known);
  return known;
}

const seconds = (text: unknown): number => {
  const [, count, unit] = /^(\d+)(s|m)$/.exec(String(text)) ?? [];
  return Number(count) * (unit === "m" ? 60 : 1);
};

/** Names of Secrets and ConfigMaps that some object makes, with their keys where they are known. */
function made(manifests: readonly Manifest[]): ReadonlyMap<string, readonly string[] | undefined> {
  const names = new Map<string, readonly string[] | undefined>();
  for (const manifest of manifests) {
    if (manifest.kind === "ConfigMap") {
      names.set(manifest.metadata.name, Object.keys((at(manifest, "data") ?? {}) as JsonObject));
    }
    if (manifest.kind === "Certificate") {
      names.set(String(at(manifest, "spec.secretName")), ["ca.crt", "tls.crt", "tls.key"]);
    }
    if (manifest.kind === "ExternalSecret") {
      const keys = listAt(manifest, "spec.data").map(({ secretKey }) => String(secretKey));
      names.set(String(at(manifest, "spec.target.name")), keys);
    }
  }
  return names;
}

/** Files that a container reads, by its `…_FILE` settings: mount path and key. */
function filesRead(container: JsonObject): { setting: string; path: string }[] {
  return listAt(container, "env").flatMap(({ name, value }) =>
    /_FILE$/.test(String(name)) ? [{ setting: String(name), path: String(value) }] : [],
  );
}

function podFaults(maker: Manifest, sources: ReturnType<typeof made>): string[] {
  const pod = podOf(maker);
  const faults: string[] = [];
  const say = (text: string) => faults.push(`${nameOf(maker)}: ${text}`);
  const volumes = new Map(listAt(pod, "spec.volumes").map((volume) => [volume["name"], volume]));
  const service = serviceOf(maker);
  const settings = settingsOf(service);
  for (const container of containersOf(pod)) {
    for (const { name } of listAt(container, "env")) {
      if (String(name).startsWith("CHOM_") && !settings.has(String(name))) {
        say(`${name} is no setting of ${service}`);
      }
    }
    for (const { setting, path } of filesRead(container)) {
      const mount = listAt(container, "volumeMounts").find(({ mountPath }) =>
        path.startsWith(`${mountPath}/`),
      );
      const volume = volumes.get(mount?.["name"] as string);
      const source = String(at(volume, "secret.secretName") ?? at(volume, "configMap.name"));
      const key = path.slice(String(mount?.["mountPath"]).length + 1);
      if (!mount) say(`${setting} names ${path}, which nothing mounts`);
      else if (sources.size > 0 && sources.has(source) && !sources.get(source)?.includes(key)) {
        say(`${setting} names ${path}, and ${source} has no ${key}`);
      }
    }
    const drain = listAt(container, "env").find(({ name }) => name === "CHOM_DRAIN");
    const grace = Number(at(pod, "spec.terminationGracePeriodSeconds"));
    if (drain && !(grace > seconds(drain["value"]))) say("ends its pods before they have drained");
  }
  return faults;
}

const serviceOf = (maker: Manifest): string =>
  String((maker.metadata["labels"] as JsonObject | undefined)?.["app.kubernetes.io/name"]);

function scalerFaults(scaler: Manifest): string[] {
  const known = new Set(consumers().map(({ stream, name }) => `${stream} ${name}`));
  return listAt(scaler, "spec.triggers").flatMap((trigger) => {
    const { stream, consumer, account } = at(trigger, "metadata") as JsonObject;
    if (account !== "CHOM") return [`${nameOf(scaler)}: the account is CHOM, not ${account}`];
    if (known.has(`${stream} ${consumer}`)) return [];
    return [`${nameOf(scaler)}: the topology has no consumer ${consumer} of ${stream}`];
  });
}

/** Every consumer of work must scale somebody. */
function unscaled(manifests: readonly Manifest[]): string[] {
  const scaled = new Set(
    manifests
      .filter(({ kind }) => kind === "ScaledObject")
      .flatMap((scaler) => listAt(scaler, "spec.triggers"))
      .map((trigger) => at(trigger, "metadata.consumer")),
  );
  return consumers()
    .filter(({ stream, name }) => stream === "JOBS" && !scaled.has(name))
    .map(({ name }) => `nothing scales by the consumer ${name}`);
}

/** Every place where the manifests and the code disagree; a line each. */
export function agreementFaults(manifests: readonly Manifest[]): string[] {
  const sources = made(manifests);
  return [
    ...manifests
      .filter((manifest) => podOf(manifest))
      .flatMap((maker) => podFaults(maker, sources)),
    ...manifests.filter(({ kind }) => kind === "ScaledObject").flatMap(scalerFaults),
    ...unscaled(manifests),
  ];
}
