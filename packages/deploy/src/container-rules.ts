/** What holds for every container: image, resources, probes, and what it may do on its machine. */
import { at, type JsonObject, listAt } from "./manifest.ts";
import { perContainer, type Rule } from "./rule.ts";

const isSet = (container: JsonObject, path: string): boolean => at(container, path) !== undefined;
const security = (container: JsonObject, pod: JsonObject, key: string) =>
  at(container, `securityContext.${key}`) ?? at(pod, `spec.securityContext.${key}`);

const tagOf = (image: unknown): string => {
  const text = String(image);
  if (text.includes("@sha256:")) return "digest";
  return /:([^/]+)$/.exec(text)?.[1] ?? "";
};

/** Capabilities that give the machine away, by the lists of Polaris. */
const dangerous = ["ALL", "SYS_ADMIN", "NET_ADMIN"];
const insecure = [
  ...["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"],
  ...["SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"],
];
const added = (container: JsonObject): readonly unknown[] =>
  (at(container, "securityContext.capabilities.add") as readonly unknown[] | undefined) ?? [];
const dropsAll = (container: JsonObject): boolean =>
  ((at(container, "securityContext.capabilities.drop") as readonly unknown[]) ?? []).includes(
    "ALL",
  );

const runsOnce = (kind: string): boolean => kind === "Job" || kind === "CronJob";

export const containerRules: readonly Rule[] = [
  perContainer(
    ["kube-score:container-image-tag", "polaris:tagNotSpecified"],
    "an image has no tag, or `latest`",
    ({ image }) => !["", "latest"].includes(tagOf(image)),
  ),
  perContainer(
    ["kube-score:container-image-pull-policy", "polaris:pullPolicyNotAlways"],
    "a machine that has the image would not ask whether the pod may",
    ({ imagePullPolicy }) => imagePullPolicy === "Always",
  ),
  ...(["cpu", "memory"] as const).flatMap((what) => [
    perContainer(
      [`polaris:${what}RequestsMissing`, `kube-score:container-resources (${what} request)`],
      `no request of ${what}`,
      (container) => isSet(container, `resources.requests.${what}`),
    ),
    perContainer(
      [`polaris:${what}LimitsMissing`, `kube-score:container-resources (${what} limit)`],
      `no limit of ${what}`,
      (container) => isSet(container, `resources.limits.${what}`),
    ),
  ]),
  perContainer(
    ["kube-score:container-ephemeral-storage-request-and-limit"],
    "no request or limit of ephemeral storage",
    (container) =>
      isSet(container, "resources.requests.ephemeral-storage") &&
      isSet(container, "resources.limits.ephemeral-storage"),
  ),
  perContainer(
    ["polaris:livenessProbeMissing", "kube-score:pod-probes (liveness)"],
    "nothing tells whether it lives",
    (container, _pod, { kind }) => runsOnce(kind) || isSet(container, "livenessProbe"),
  ),
  perContainer(
    ["polaris:readinessProbeMissing", "kube-score:pod-probes (readiness)"],
    "nothing tells whether it can be asked",
    (container, _pod, { kind }) => runsOnce(kind) || isSet(container, "readinessProbe"),
  ),
  perContainer(
    ["kube-score:pod-probes-identical"],
    "liveness and readiness ask the same: what cannot be asked for a while would be killed",
    ({ livenessProbe, readinessProbe }) =>
      livenessProbe === undefined ||
      JSON.stringify(at(livenessProbe, "httpGet")) !==
        JSON.stringify(at(readinessProbe, "httpGet")),
  ),
  perContainer(
    ["polaris:runAsRootAllowed", "pod-security:runAsNonRoot"],
    "may run as root",
    (container, pod) => security(container, pod, "runAsNonRoot") === true,
  ),
  perContainer(
    ["kube-score:container-security-context-user-group-id"],
    "runs with a user or group below 10000, which may be one of the machine's",
    (container, pod) =>
      Number(security(container, pod, "runAsUser")) > 10_000 &&
      Number(security(container, pod, "runAsGroup")) > 10_000,
  ),
  perContainer(
    [
      "polaris:runAsPrivileged",
      "kube-score:container-security-context-privileged",
      "pod-security:privileged",
    ],
    "is privileged",
    (container) => at(container, "securityContext.privileged") !== true,
  ),
  perContainer(
    ["polaris:privilegeEscalationAllowed", "pod-security:allowPrivilegeEscalation"],
    "may gain more rights than it began with",
    (container) => at(container, "securityContext.allowPrivilegeEscalation") === false,
  ),
  perContainer(
    [
      "polaris:notReadOnlyRootFilesystem",
      "kube-score:container-security-context-readonlyrootfilesystem",
    ],
    "can write to its own image",
    (container) => at(container, "securityContext.readOnlyRootFilesystem") === true,
  ),
  perContainer(
    ["polaris:dangerousCapabilities"],
    "has a capability that gives the machine away",
    (container) => !added(container).some((name) => dangerous.includes(String(name))),
  ),
  perContainer(
    ["polaris:insecureCapabilities"],
    "keeps capabilities that it does not need",
    (container) =>
      dropsAll(container) && !added(container).some((name) => insecure.includes(String(name))),
  ),
  perContainer(
    ["pod-security:capabilities"],
    "does not drop all capabilities",
    (container) => dropsAll(container) && added(container).length === 0,
  ),
  perContainer(
    [
      "polaris:linuxHardening",
      "kube-score:container-seccomp-profile",
      "kube-score:container-security-context",
      "pod-security:seccompProfile",
    ],
    "no seccomp profile of the runtime",
    (container, pod) => at(security(container, pod, "seccompProfile"), "type") === "RuntimeDefault",
  ),
  perContainer(["polaris:procMount", "pod-security:procMount"], "sees all of /proc", (container) =>
    [undefined, "Default"].includes(at(container, "securityContext.procMount") as never),
  ),
  perContainer(
    ["polaris:hostPortSet", "pod-security:hostPorts"],
    "takes a port of its machine",
    (container) => listAt(container, "ports").every(({ hostPort }) => hostPort === undefined),
  ),
  perContainer(
    ["kube-score:container-ports-check"],
    "two ports have one name, or a name longer than 15 signs",
    (container) => {
      const names = listAt(container, "ports").map(({ name }) => String(name));
      return new Set(names).size === names.length && names.every((name) => name.length <= 15);
    },
  ),
  perContainer(
    ["kube-score:environment-variable-key-duplication"],
    "a variable of the environment is set twice",
    (container) => {
      const names = listAt(container, "env").map(({ name }) => name);
      return new Set(names).size === names.length;
    },
  ),
  perContainer(
    ["polaris:sensitiveContainerEnvVar"],
    "a secret is in the environment, where every child and every crash report sees it",
    (container) =>
      listAt(container, "env").every(
        ({ name, value, valueFrom }) =>
          at(valueFrom, "secretKeyRef") === undefined &&
          (value === undefined ||
            /_FILE$/.test(String(name)) ||
            !/(PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL)$/i.test(String(name))),
      ) && listAt(container, "envFrom").every(({ secretRef }) => secretRef === undefined),
  ),
];
