/** For each rule a broken twin: how to spoil good manifests so that this rule must find something. Tests only. */
import type { Manifest } from "./manifest.ts";

// Spoiling is what twins are for, so here the objects may be written to.
// biome-ignore lint/suspicious/noExplicitAny: any field of any kind of object, also such that do not exist
type Loose = any;

const named = (all: Loose[], kind: string, name: string): Loose => {
  const found = all.find((one) => one.kind === kind && one.metadata.name === name);
  if (!found) throw new Error(`no ${kind} ${name}`);
  return found;
};
const api = (all: Loose[]): Loose => named(all, "Deployment", "backup-api");
const podOf = (all: Loose[]): Loose => api(all).spec.template.spec;
const boxOf = (all: Loose[]): Loose => podOf(all).containers[0];
const scaler = (all: Loose[]): Loose => named(all, "ScaledObject", "backup-worker");
const add = (object: object) => (all: Loose[]) => all.push(object);
const box = (spoil: (container: Loose) => void) => (all: Loose[]) => spoil(boxOf(all));
const pod = (spoil: (spec: Loose) => void) => (all: Loose[]) => spoil(podOf(all));

const object = (apiVersion: string, kind: string, rest: object = {}): object => ({
  ...{ apiVersion, kind, metadata: { name: "twin", namespace: "chom" } },
  ...rest,
});

export const twins: Readonly<Record<string, (manifests: Manifest[]) => void>> = {
  "kube-score:container-image-tag": box((c) => (c.image = "chom/backup:latest")),
  "kube-score:container-image-pull-policy": box((c) => (c.imagePullPolicy = "IfNotPresent")),
  "polaris:cpuRequestsMissing": box((c) => delete c.resources.requests.cpu),
  "polaris:cpuLimitsMissing": box((c) => delete c.resources.limits.cpu),
  "polaris:memoryRequestsMissing": box((c) => delete c.resources.requests.memory),
  "polaris:memoryLimitsMissing": box((c) => delete c.resources.limits.memory),
  "kube-score:container-ephemeral-storage-request-and-limit": box(
    (c) => delete c.resources.limits["ephemeral-storage"],
  ),
  "polaris:livenessProbeMissing": box((c) => delete c.livenessProbe),
  "polaris:readinessProbeMissing": box((c) => delete c.readinessProbe),
  "kube-score:pod-probes-identical": box((c) => (c.livenessProbe = c.readinessProbe)),
  "polaris:runAsRootAllowed": pod((p) => (p.securityContext.runAsNonRoot = false)),
  "kube-score:container-security-context-user-group-id": pod(
    (p) => (p.securityContext.runAsUser = 1000),
  ),
  "polaris:runAsPrivileged": box((c) => (c.securityContext.privileged = true)),
  "polaris:privilegeEscalationAllowed": box(
    (c) => delete c.securityContext.allowPrivilegeEscalation,
  ),
  "polaris:notReadOnlyRootFilesystem": box(
    (c) => (c.securityContext.readOnlyRootFilesystem = false),
  ),
  "polaris:dangerousCapabilities": box((c) => (c.securityContext.capabilities.add = ["SYS_ADMIN"])),
  "polaris:insecureCapabilities": box((c) => (c.securityContext.capabilities.add = ["NET_RAW"])),
  "pod-security:capabilities": box((c) => (c.securityContext.capabilities.drop = [])),
  "polaris:linuxHardening": pod((p) => delete p.securityContext.seccompProfile),
  "polaris:procMount": box((c) => (c.securityContext.procMount = "Unmasked")),
  "polaris:hostPortSet": box((c) => (c.ports[0].hostPort = 9464)),
  "kube-score:container-ports-check": box((c) => c.ports.push(c.ports[0])),
  "kube-score:environment-variable-key-duplication": box((c) => c.env.push(c.env[0])),
  "polaris:sensitiveContainerEnvVar": box((c) =>
    c.env.push({ name: "VAULT_PASSWORD", value: "x" }),
  ),
  "polaris:hostNetworkSet": pod((p) => (p.hostNetwork = true)),
  "polaris:hostPIDSet": pod((p) => (p.hostPID = true)),
  "polaris:hostIPCSet": pod((p) => (p.hostIPC = true)),
  "polaris:hostProcess": pod((p) => (p.securityContext.windowsOptions = { hostProcess: true })),
  "polaris:hostPathSet": pod((p) => p.volumes.push({ name: "x", hostPath: { path: "/" } })),
  "polaris:automountServiceAccountToken": pod((p) => delete p.automountServiceAccountToken),
  "polaris:priorityClassNotSet": pod((p) => delete p.priorityClassName),
  "polaris:topologySpreadConstraint": pod((p) => delete p.topologySpreadConstraints),
  "kube-score:deployment-has-host-podantiaffinity": pod((p) => delete p.affinity),
  "polaris:missingNetworkPolicy": (all) => {
    const policies = all.filter(({ kind }) => kind === "NetworkPolicy");
    for (const policy of policies) all.splice(all.indexOf(policy), 1);
  },
  "polaris:missingPodDisruptionBudget": (all: Loose[]) =>
    all.splice(all.indexOf(named(all, "PodDisruptionBudget", "backup-api")), 1),
  "chom:one-disruption-budget": (all: Loose[]) =>
    (named(all, "PodDisruptionBudget", "dashboard").spec.selector = {}),
  "kube-score:deployment-pod-selector-labels-match-template-metadata-labels": (all) =>
    (api(all).spec.selector.matchLabels = { app: "other" }),
  "kube-score:deployment-strategy": (all) => (api(all).spec.strategy = { type: "Recreate" }),
  "kube-score:statefulset-has-servicename": add(object("apps/v1", "StatefulSet", { spec: {} })),
  "kube-score:cronjob-has-deadline": add(object("batch/v1", "CronJob", { spec: {} })),
  "polaris:deploymentMissingReplicas": (all) => (api(all).spec.replicas = 1),
  "kube-score:deployment-targeted-by-hpa-does-not-have-replicas-configured": (all: Loose[]) =>
    (named(all, "Deployment", "backup-worker").spec.replicas = 3),
  "kube-score:horizontalpodautoscaler-has-target": (all) =>
    (scaler(all).spec.scaleTargetRef.name = "nobody"),
  "polaris:hpaMinAvailability": (all) => (scaler(all).spec.minReplicaCount = 0),
  "polaris:hpaMaxAvailability": (all) => (scaler(all).spec.maxReplicaCount = 1),
  "polaris:pdbDisruptionsIsZero": (all: Loose[]) =>
    (named(all, "PodDisruptionBudget", "backup-api").spec.maxUnavailable = 0),
  "polaris:pdbMinAvailableEqualToHPAMinReplicas": (all: Loose[]) => {
    const { spec } = named(all, "PodDisruptionBudget", "backup-worker");
    delete spec.maxUnavailable;
    spec.minAvailable = 1;
  },
  "kube-score:service-targets-pod": (all: Loose[]) =>
    (named(all, "Service", "backup-api").spec.selector = { app: "other" }),
  "kube-score:service-type": (all: Loose[]) =>
    (named(all, "Service", "backup-api").spec.type = "NodePort"),
  "kube-score:networkpolicy-targets-pod": (all: Loose[]) =>
    (named(all, "NetworkPolicy", "ssl-checks").spec.podSelector = { matchLabels: { app: "x" } }),
  "kube-score:ingress-targets-service": add(
    object("networking.k8s.io/v1", "Ingress", { spec: { rules: [] } }),
  ),
  "kube-score:stable-version": (all) => (api(all).apiVersion = "extensions/v1beta1"),
  "kube-score:label-values": (all) => (api(all).metadata.labels["x"] = "not a label"),
  "polaris:metadataAndInstanceMismatched": (all) =>
    (api(all).metadata.labels["app.kubernetes.io/instance"] = "other"),
  "polaris:sensitiveConfigmapContent": add(
    object("v1", "ConfigMap", { data: { key: "-----BEGIN PRIVATE KEY-----" } }),
  ),
  "chom:no-secrets-in-overlays": add(object("v1", "Secret")),
  "polaris:clusterrolePodExecAttach": add(
    object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
  ),
  "polaris:gatewayAllowedRoutesAll": add(object("gateway.networking.k8s.io/v1", "Gateway")),
};
