/** All rules, and the ones that are left out with their reasons. */
import { containerRules } from "./container-rules.ts";
import { objectRules } from "./object-rules.ts";
import { podRules } from "./pod-rules.ts";
import type { Rule } from "./rule.ts";
import { setRules } from "./set-rules.ts";

export const rules: readonly Rule[] = [...containerRules, ...podRules, ...setRules, ...objectRules];

/** Rules of kube-score that are off by default there too, and not followed here. */
export const notFollowed: Readonly<Record<string, string>> = {
  "kube-score:container-resource-requests-equal-limits":
    "work comes in bursts; a pod that may use an idle machine's CPU finishes sooner",
  "kube-score:container-cpu-requests-equal-limits": "the same",
  "kube-score:container-memory-requests-equal-limits":
    "the limit leaves room for one large backup; requests are what was measured",
  "kube-score:container-ephemeral-storage-request-equals-limit": "the same",
};

/** What an overlay for one machine cannot promise. */
export const notOnOneMachine: readonly string[] = ["kube-score:deployment-replicas"];
