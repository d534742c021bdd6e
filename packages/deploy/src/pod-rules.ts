/** What holds for every pod and for what makes it. */
import { at, type JsonObject, listAt, type Manifest, selects } from "./manifest.ts";
import { perObject, perPod, type Rule } from "./rule.ts";

const without = (path: string) => (pod: JsonObject) => at(pod, path) !== true;
const labelsOf = (pod: JsonObject) => at(pod, "metadata.labels");
const longRunning = ["Deployment", "StatefulSet"];

const matchesOwnPods = (manifest: Manifest): boolean =>
  selects(at(manifest, "spec.selector"), at(manifest, "spec.template.metadata.labels"));

const spreads = (pod: JsonObject): boolean =>
  ["required", "preferred"].some(
    (how) =>
      listAt(pod, `spec.affinity.podAntiAffinity.${how}DuringSchedulingIgnoredDuringExecution`)
        .length > 0,
  );

/** In policy/v1 a budget without a selector covers no pod, and one with an empty selector every pod of its namespace. */
const budgetsOf = (pod: JsonObject, all: readonly Manifest[]): number =>
  all.filter((other) => {
    const selector = at(other, "spec.selector");
    return (
      other.kind === "PodDisruptionBudget" &&
      selector !== undefined &&
      selects(selector, labelsOf(pod))
    );
  }).length;

/** Kinds of volumes that the level "restricted" allows. */
const volumes = [
  ...["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"],
  ...["projected", "secret"],
];

export const podRules: readonly Rule[] = [
  perPod(
    ["polaris:hostNetworkSet", "pod-security:hostNetwork"],
    "is in its machine's network",
    without("spec.hostNetwork"),
  ),
  perPod(
    ["polaris:hostPIDSet", "pod-security:hostPID"],
    "sees its machine's processes",
    without("spec.hostPID"),
  ),
  perPod(
    ["polaris:hostIPCSet", "pod-security:hostIPC"],
    "shares its machine's memory",
    without("spec.hostIPC"),
  ),
  perPod(
    ["polaris:hostProcess", "pod-security:hostProcess"],
    "runs as a process of a Windows machine",
    (pod) => at(pod, "spec.securityContext.windowsOptions.hostProcess") !== true,
  ),
  perPod(
    ["polaris:hostPathSet", "pod-security:volumes"],
    "mounts what is no volume of its own",
    (pod) =>
      listAt(pod, "spec.volumes").every((volume) =>
        Object.keys(volume).every((key) => key === "name" || volumes.includes(key)),
      ),
  ),
  perPod(
    ["polaris:automountServiceAccountToken"],
    "gets a key of the Kubernetes API, which it never asks",
    (pod) => at(pod, "spec.automountServiceAccountToken") === false,
  ),
  perPod(
    ["polaris:priorityClassNotSet"],
    "no priority: it goes or stays by chance",
    (pod) => at(pod, "spec.priorityClassName") !== undefined,
  ),
  perPod(
    ["polaris:topologySpreadConstraint", "kube-score:pod-topology-spread-constraints"],
    "all of its pods may be in one zone",
    (pod, { kind }) =>
      !longRunning.includes(kind) || listAt(pod, "spec.topologySpreadConstraints").length > 0,
  ),
  perPod(
    [
      "kube-score:deployment-has-host-podantiaffinity",
      "kube-score:statefulset-has-host-podantiaffinity",
    ],
    "its pods may all be on one machine",
    (pod, { kind }) => !longRunning.includes(kind) || spreads(pod),
  ),
  perPod(
    ["polaris:missingNetworkPolicy", "kube-score:pod-networkpolicy"],
    "no policy says whom it may speak to, in or out",
    (pod, maker, all) =>
      (["Ingress", "Egress"] as const).every((direction) =>
        all.some(
          (other) =>
            other.kind === "NetworkPolicy" &&
            at(other, "metadata.namespace") === at(maker, "metadata.namespace") &&
            (at(other, "spec.policyTypes") as readonly unknown[]).includes(direction) &&
            selects(at(other, "spec.podSelector"), labelsOf(pod)),
        ),
      ),
  ),
  perPod(
    [
      "polaris:missingPodDisruptionBudget",
      "kube-score:deployment-has-poddisruptionbudget",
      "kube-score:statefulset-has-poddisruptionbudget",
    ],
    "a drained machine may take all of its pods at once",
    (pod, { kind }, all) => !longRunning.includes(kind) || budgetsOf(pod, all) > 0,
  ),
  perPod(
    ["chom:one-disruption-budget"],
    "several budgets cover it, so that no machine with one of its pods can be drained",
    (pod, _maker, all) => budgetsOf(pod, all) <= 1,
  ),
  perObject(
    [
      "kube-score:deployment-pod-selector-labels-match-template-metadata-labels",
      "kube-score:statefulset-pod-selector-labels-match-template-metadata-labels",
    ],
    "does not select its own pods",
    (manifest) => !longRunning.includes(manifest.kind) || matchesOwnPods(manifest),
  ),
  perObject(
    ["kube-score:deployment-strategy"],
    "replaces its pods all at once",
    ({ kind, ...manifest }) =>
      kind !== "Deployment" || at(manifest as JsonObject, "spec.strategy.type") === "RollingUpdate",
  ),
  perObject(
    ["kube-score:statefulset-has-servicename"],
    "its pods have no names",
    ({ kind, ...manifest }) =>
      kind !== "StatefulSet" || at(manifest as JsonObject, "spec.serviceName") !== undefined,
  ),
  perObject(
    ["kube-score:cronjob-has-deadline", "kube-score:cronjob-restartpolicy"],
    "a run that is too late, or that fails, comes again without an end",
    ({ kind, ...manifest }) =>
      kind !== "CronJob" ||
      (at(manifest as JsonObject, "spec.startingDeadlineSeconds") !== undefined &&
        at(manifest as JsonObject, "spec.jobTemplate.spec.template.spec.restartPolicy") ===
          "Never"),
  ),
];
