/** What holds for objects by themselves: versions, labels, contents, and kinds that have no place here. */
import { at, type JsonObject, type Manifest } from "./manifest.ts";
import { perObject, type Rule } from "./rule.ts";

const stable: Readonly<Record<string, string>> = {
  ...{ Deployment: "apps/v1", StatefulSet: "apps/v1", DaemonSet: "apps/v1" },
  ...{ CronJob: "batch/v1", Job: "batch/v1", Ingress: "networking.k8s.io/v1" },
  ...{ NetworkPolicy: "networking.k8s.io/v1", PodDisruptionBudget: "policy/v1" },
  ...{ HorizontalPodAutoscaler: "autoscaling/v2", PriorityClass: "scheduling.k8s.io/v1" },
};

const labelValue = /^$|^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const secretText = /PRIVATE KEY|AGE-SECRET-KEY-|"d"\s*:|\bSU[A-Z2-7]{56}\b|password\s*[:=]/i;
const rbac = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"];

const valuesOf = (manifest: Manifest, key: string): readonly unknown[] =>
  Object.values((at(manifest, key) ?? {}) as JsonObject);

export const objectRules: readonly Rule[] = [
  perObject(
    ["kube-score:stable-version"],
    "is of a version that goes away",
    ({ kind, apiVersion }) => stable[kind] === undefined || stable[kind] === apiVersion,
  ),
  perObject(["kube-score:label-values"], "a label has signs that labels cannot have", (manifest) =>
    valuesOf(manifest, "metadata.labels").every((value) => labelValue.test(String(value))),
  ),
  perObject(
    ["polaris:metadataAndInstanceMismatched"],
    "its label of an instance names another one",
    ({ metadata }) => {
      const instance = (metadata["labels"] as JsonObject | undefined)?.[
        "app.kubernetes.io/instance"
      ];
      return instance === undefined || instance === metadata.name;
    },
  ),
  perObject(
    ["polaris:sensitiveConfigmapContent"],
    "a secret is in a ConfigMap",
    (manifest) =>
      manifest.kind !== "ConfigMap" ||
      valuesOf(manifest, "data").every((value) => !secretText.test(String(value))),
  ),
  perObject(
    ["chom:no-secrets-in-overlays"],
    "a Secret is in the repository; they come from a store, or from a script into an ignored folder",
    ({ kind }) => kind !== "Secret",
  ),
  perObject(
    [
      ...["polaris:clusterrolePodExecAttach", "polaris:clusterrolebindingClusterAdmin"],
      ...["polaris:clusterrolebindingPodExecAttach", "polaris:rolePodExecAttach"],
      ...["polaris:rolebindingClusterAdminClusterRole", "polaris:rolebindingClusterAdminRole"],
      ...["polaris:rolebindingClusterRolePodExecAttach", "polaris:rolebindingRolePodExecAttach"],
    ],
    "grants rights in the Kubernetes API, which no part of CHOM asks",
    ({ kind }) => !rbac.includes(kind),
  ),
  perObject(
    [
      ...["polaris:gatewayAllowedRoutesAll", "polaris:gatewayCrossNamespaceCertificateRef"],
      ...["polaris:gatewayInsecureFrontendValidation", "polaris:gatewayTLSMissing"],
      ...["polaris:httpRouteBackendTLSMissing", "polaris:httpRouteCrossNamespaceBackendRef"],
      ...["polaris:httpRouteInsecureListener", "polaris:httpRouteWildcardOrEmptyHost"],
      "polaris:kgatewayBackendTLSVerificationDisabled",
    ],
    "is a gateway's object; whoever brings one brings its rules here first",
    ({ apiVersion }) => !/^gateway\.|\.kgateway\./.test(apiVersion),
  ),
];
