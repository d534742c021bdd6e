/** Circuits that all processes share, one per key, like a server. */
import { hashId } from "../aggregate/id.ts";
import type { Clock } from "../job/clock.ts";
import {
  type Circuit,
  type CircuitRule,
  closed,
  defaultCircuit,
  passOf,
  settledOf,
} from "./circuit.ts";
import { changeOf, type LimitStore } from "./limit-store.ts";

export type Circuits = {
  /** Lets `by` (a job id) pass, or says when to ask again. */
  pass(key: string, by: string): Promise<{ readonly passes: true } | { readonly until: Date }>;
  /** Tells how it went for who passed. */
  settle(key: string, by: string, how: "worked" | "failed" | "neither"): Promise<void>;
};

const busyMs = 1_000;

/** Circuits in a store. */
export function circuits(
  store: LimitStore,
  clock: Clock,
  rule: CircuitRule = defaultCircuit,
): Circuits {
  const ttlMs = rule.windowMs + rule.openMs + rule.probeMs;
  const keyOf = (key: string) => `circuit.${hashId("circuit", key)}`;
  const read = (body: string | undefined): Circuit =>
    body === undefined ? closed : (JSON.parse(body) as Circuit);
  const moment = (by: string) => ({ rule, nowMs: clock.now().getTime(), by });
  return {
    async pass(key, by) {
      const answer = await changeOf<number>(store, keyOf(key), (body) => {
        const before = read(body);
        const passed = passOf(before, moment(by));
        if ("untilMs" in passed) return { answer: passed.untilMs };
        if (passed.circuit === before) return { answer: 0 };
        return { body: JSON.stringify(passed.circuit), ttlMs, answer: 0 };
      });
      if (answer === 0) return { passes: true };
      return { until: new Date(answer === "busy" ? clock.now().getTime() + busyMs : answer) };
    },
    async settle(key, by, how) {
      await changeOf(store, keyOf(key), (body) => {
        const before = read(body);
        // The usual case, for which nothing is written.
        if (how === "worked" && before.failedAt.length === 0 && before.openUntil === 0) {
          return { answer: undefined };
        }
        const after = settledOf(before, how, moment(by));
        if (after === before) return { answer: undefined };
        return { body: JSON.stringify(after), ttlMs, answer: undefined };
      });
    },
  };
}
