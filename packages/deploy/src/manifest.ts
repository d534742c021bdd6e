/** Objects of Kubernetes as plain data, and the questions that several rules ask of them. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

export type Manifest = JsonObject & {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: JsonObject & { readonly name: string };
};

/** `Deployment backup-api`, as people name it. */
export const nameOf = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.name}`;

/** What stands at a path like `spec.template.spec`; undefined where nothing does. */
export function at(value: Json | undefined, path: string): Json | undefined {
  let found: Json | undefined = value;
  for (const key of path.split(".")) {
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as JsonObject)[key];
  }
  return found;
}

/** The list at a path; empty where none is. */
export const listAt = (value: Json | undefined, path: string): readonly JsonObject[] => {
  const found = at(value, path);
  return Array.isArray(found) ? (found as JsonObject[]) : [];
};

const podPaths: Readonly<Record<string, string>> = {
  Deployment: "spec.template",
  StatefulSet: "spec.template",
  DaemonSet: "spec.template",
  Job: "spec.template",
  CronJob: "spec.jobTemplate.spec.template",
};

/** The pod template of whatever makes pods, and a pod itself; undefined for other kinds. */
export function podOf(manifest: Manifest): JsonObject | undefined {
  if (manifest.kind === "Pod") return manifest;
  const path = podPaths[manifest.kind];
  return path === undefined ? undefined : (at(manifest, path) as JsonObject | undefined);
}

/** All containers of a pod, those that prepare it included. */
export const containersOf = (pod: JsonObject | undefined): readonly JsonObject[] => [
  ...listAt(pod, "spec.initContainers"),
  ...listAt(pod, "spec.containers"),
];

/** Whether a label selector (`matchLabels`, `matchExpressions`) takes these labels. An empty one takes all. */
export function selects(selector: Json | undefined, labels: Json | undefined): boolean {
  const wanted = Object.entries((at(selector, "matchLabels") ?? {}) as JsonObject);
  const has = (key: string) => (labels as JsonObject | undefined)?.[key];
  if (!wanted.every(([key, value]) => has(key) === value)) return false;
  return listAt(selector, "matchExpressions").every(({ key, operator, values }) => {
    const value = has(String(key));
    if (operator === "Exists") return value !== undefined;
    if (operator === "DoesNotExist") return value === undefined;
    const isListed = Array.isArray(values) && values.includes(value as Json);
    return operator === "In" ? isListed : !isListed;
  });
}
