/** What holds between objects: budgets and scalers, services and their pods, who may reach what. */
import { at, type JsonObject, type Manifest, listAt, podOf, selects } from "./manifest.ts";
import { perObject, type Rule } from "./rule.ts";

const ofKind = (all: readonly Manifest[], kind: string): Manifest[] =>
  all.filter((manifest) => manifest.kind === kind);

const scalerOf = (target: Manifest, all: readonly Manifest[]): Manifest | undefined =>
  all.find(
    (other) =>
      ["ScaledObject", "HorizontalPodAutoscaler"].includes(other.kind) &&
      at(other, "spec.scaleTargetRef.name") === target.metadata.name &&
      (at(other, "spec.scaleTargetRef.kind") ?? "Deployment") === target.kind,
  );

const leastOf = (scaler: Manifest): number =>
  Number(at(scaler, "spec.minReplicaCount") ?? at(scaler, "spec.minReplicas") ?? 1);
const mostOf = (scaler: Manifest): number =>
  Number(at(scaler, "spec.maxReplicaCount") ?? at(scaler, "spec.maxReplicas") ?? 0);

const makers = (all: readonly Manifest[]): Manifest[] =>
  all.filter((manifest) => podOf(manifest) !== undefined);
const podsTaken = (selector: unknown, all: readonly Manifest[]): boolean =>
  makers(all).some((maker) => selects(selector as JsonObject, at(podOf(maker), "metadata.labels")));

/** Every budget with a number of pods that must stay, beside the scaler of what it guards. */
const guarded = (budget: Manifest, all: readonly Manifest[]) => {
  const least = Number(at(budget, "spec.minAvailable"));
  const target = ofKind(all, "Deployment").find((deployment) =>
    selects(at(budget, "spec.selector"), at(deployment, "spec.template.metadata.labels")),
  );
  const scaler = target && scalerOf(target, all);
  return Number.isInteger(least) && scaler ? { least, scaler } : undefined;
};

const isBudget = ({ kind }: Manifest): boolean => kind === "PodDisruptionBudget";
const isScaler = ({ kind }: Manifest): boolean =>
  kind === "ScaledObject" || kind === "HorizontalPodAutoscaler";

export const setRules: readonly Rule[] = [
  perObject(
    ["polaris:deploymentMissingReplicas", "kube-score:deployment-replicas"],
    "one pod only, and nothing that adds more",
    (manifest, all) =>
      manifest.kind !== "Deployment" ||
      scalerOf(manifest, all) !== undefined ||
      Number(at(manifest, "spec.replicas") ?? 1) >= 2,
  ),
  perObject(
    ["kube-score:deployment-targeted-by-hpa-does-not-have-replicas-configured"],
    "each release would undo what the scaler did",
    (manifest, all) =>
      manifest.kind !== "Deployment" ||
      scalerOf(manifest, all) === undefined ||
      at(manifest, "spec.replicas") === undefined,
  ),
  perObject(
    ["kube-score:horizontalpodautoscaler-has-target"],
    "scales what is not there",
    (manifest, all) =>
      !isScaler(manifest) ||
      all.some(
        ({ kind, metadata }) =>
          kind === at(manifest, "spec.scaleTargetRef.kind") &&
          metadata.name === at(manifest, "spec.scaleTargetRef.name"),
      ),
  ),
  perObject(
    ["polaris:hpaMinAvailability", "kube-score:horizontalpodautoscaler-replicas"],
    "may scale to nothing: then nobody sweeps for lost work",
    (manifest) => !isScaler(manifest) || leastOf(manifest) >= 1,
  ),
  perObject(
    ["polaris:hpaMaxAvailability"],
    "cannot scale: its most is not above its least",
    (manifest) => !isScaler(manifest) || mostOf(manifest) > leastOf(manifest),
  ),
  perObject(
    ["polaris:pdbDisruptionsIsZero", "kube-score:poddisruptionbudget-has-policy"],
    "lets no pod go, or says nothing: a machine could never be drained",
    (manifest) =>
      !isBudget(manifest) ||
      (at(manifest, "spec.maxUnavailable") === undefined
        ? at(manifest, "spec.minAvailable") !== undefined &&
          at(manifest, "spec.minAvailable") !== "100%"
        : ![0, "0%"].includes(at(manifest, "spec.maxUnavailable") as never)),
  ),
  perObject(
    [
      "polaris:pdbMinAvailableEqualToHPAMinReplicas",
      "polaris:pdbMinAvailableGreaterThanHPAMinReplicas",
      "polaris:pdbMinAvailableGreaterThanHPAMaxReplicas",
    ],
    "keeps as many pods as the scaler may leave: a machine could never be drained",
    (manifest, all) => {
      const found = isBudget(manifest) ? guarded(manifest, all) : undefined;
      return !found || found.least < leastOf(found.scaler);
    },
  ),
  perObject(
    ["kube-score:service-targets-pod"],
    "leads to no pod",
    (manifest, all) =>
      manifest.kind !== "Service" ||
      podsTaken({ matchLabels: at(manifest, "spec.selector") ?? { none: "" } }, all),
  ),
  perObject(
    ["kube-score:service-type"],
    "is a port of every machine",
    (manifest) => manifest.kind !== "Service" || at(manifest, "spec.type") !== "NodePort",
  ),
  perObject(["kube-score:networkpolicy-targets-pod"], "is about no pod", (manifest, all) => {
    const selector = at(manifest, "spec.podSelector");
    // Pods of the broker and of Postgres are made by their chart and operator.
    const isForeign = /"(nats|chom-postgres)"/.test(JSON.stringify(selector ?? ""));
    return manifest.kind !== "NetworkPolicy" || isForeign || podsTaken(selector, all);
  }),
  perObject(
    ["kube-score:ingress-targets-service", "polaris:tlsSettingsMissing"],
    "leads to no service, or in clear",
    (manifest, all) =>
      manifest.kind !== "Ingress" ||
      (listAt(manifest, "spec.tls").length > 0 &&
        listAt(manifest, "spec.rules").every((rule) =>
          listAt(rule, "http.paths").every((path) =>
            ofKind(all, "Service").some(
              ({ metadata }) => metadata.name === at(path, "backend.service.name"),
            ),
          ),
        )),
  ),
];
