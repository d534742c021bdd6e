/** A rule over rendered manifests, by the name that kube-score, Polaris or the Pod Security Standards give it. */
import { containersOf, type JsonObject, type Manifest, nameOf, podOf } from "./manifest.ts";

export type Rule = {
  /** `kube-score:…`, `polaris:…`, `pod-security:…`; one rule may answer for several of them. */
  readonly ids: readonly string[];
  /** What is wrong where it finds something. */
  readonly says: string;
  /** The offenders, as people name them. Pure. */
  readonly find: (manifests: readonly Manifest[]) => string[];
};

/** A rule that holds or not for each object of some kinds. */
export const perObject = (
  ids: readonly string[],
  says: string,
  holds: (manifest: Manifest, all: readonly Manifest[]) => boolean,
): Rule => ({
  ids,
  says,
  find: (all) => all.filter((manifest) => !holds(manifest, all)).map(nameOf),
});

/** A rule over whatever makes pods. */
export const perPod = (
  ids: readonly string[],
  says: string,
  holds: (pod: JsonObject, maker: Manifest, all: readonly Manifest[]) => boolean,
): Rule =>
  perObject(ids, says, (manifest, all) => {
    const pod = podOf(manifest);
    return pod === undefined || holds(pod, manifest, all);
  });

/** A rule over each container of each pod. */
export const perContainer = (
  ids: readonly string[],
  says: string,
  holds: (container: JsonObject, pod: JsonObject, maker: Manifest) => boolean,
): Rule =>
  perPod(ids, says, (pod, maker) =>
    containersOf(pod).every((container) => holds(container, pod, maker)),
  );
