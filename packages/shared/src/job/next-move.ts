/** What a delivery of a job must do, and what an attempt's failure leads to. Pure. */
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import type { Failure } from "../failure/failure.ts";
import { isException, type JobState } from "./job-state.ts";

export type Move =
  /** There is no such job. */
  | { readonly do: "refuse" }
  /** It has ended, or waits for an operator: the item is done with. */
  | { readonly do: "nothing" }
  | { readonly do: "cancel"; readonly reason: string; readonly actor: string }
  | { readonly do: "wait"; readonly until: Date }
  | { readonly do: "fail"; readonly failure: FailureInfo }
  | { readonly do: "work"; readonly attempt: number };

const workerLost: FailureInfo = {
  code: "worker-lost",
  kind: "permanent",
  message: "the worker was lost in the middle of the last attempt",
  step: "",
};

/** The next move. A terminal entry comes first, a wish to cancel second, tries last. */
export function moveOf(state: JobState, now: Date): Move {
  const { queued } = state;
  if (!queued) return { do: "refuse" };
  if (state.end) return { do: "nothing" };
  if (state.cancel) return { do: "cancel", ...state.cancel };
  if (state.parked) return { do: "nothing" };
  const neverStarted = !state.everStarted;
  if (neverStarted && queued.expiresAt && queued.expiresAt <= now) {
    return { do: "cancel", reason: "expired before it could start", actor: "system" };
  }
  if (state.ending) return { do: "fail", failure: state.ending };
  if (state.dueAt && state.dueAt > now) return { do: "wait", until: state.dueAt };
  if (state.attempts >= queued.tries) {
    const lost = state.running !== undefined || state.failure === undefined;
    return { do: "fail", failure: lost ? workerLost : state.failure };
  }
  return { do: "work", attempt: state.attempts + 1 };
}

export type Consequence =
  | { readonly then: "defer"; readonly until: Date }
  | { readonly then: "retry"; readonly at: Date }
  | { readonly then: "park" }
  | { readonly then: "fail" };

/** An effect whose outcome is unknown is looked at again at once; once in a row, then it counts as a failed attempt. */
const reconcile = { delayMs: 2_000, max: 1 };

/** These say that this attempt is out of date, not that the job is wrong. */
const outdated = new Set(["lease-lost", "fenced"]);

export type AttemptFacts = {
  readonly attempt: number;
  readonly tries: number;
  readonly backoffMs: readonly number[];
  /** `exponential` doubles the list's first delay with every attempt. */
  readonly backoffKind: "list" | "exponential";
  /** No backoff is longer; 0: no such bound. */
  readonly backoffMaxMs: number;
  /** Unforeseen exceptions before this one, and how many fail the job; 0: no such bound. */
  readonly exceptions: number;
  readonly maxExceptions: number;
  readonly deferrals: JobState["deferrals"];
  readonly now: Date;
  /** 0 to 1. */
  readonly random: number;
};

const longestMs = 7 * 86_400_000;
/** The other side may ask for nothing at all; it is never asked again at once. */
const retryAfterMinMs = 1_000;

/**
 * The delay before the next attempt, in ms. A list: between half and the whole of its delay for this attempt, its last
 * one repeating. Exponential: anything up to the first delay doubled with every attempt (full jitter). At most
 * `backoffMaxMs`, and 7 days.
 */
export function backoffOf(
  facts: Pick<AttemptFacts, "attempt" | "backoffMs" | "backoffKind" | "backoffMaxMs" | "random">,
): number {
  const { attempt, backoffMs, backoffKind, backoffMaxMs, random } = facts;
  const maxMs = Math.min(backoffMaxMs || longestMs, longestMs);
  if (backoffKind === "exponential") {
    return Math.round(Math.min((backoffMs[0] ?? 0) * 2 ** (attempt - 1), maxMs) * random);
  }
  const whole = Math.min(backoffMs[Math.min(attempt, backoffMs.length) - 1] ?? 0, maxMs);
  return Math.round(whole / 2 + (whole / 2) * random);
}

/** What a failed attempt leads to. */
export function consequenceOf(failure: Failure, facts: AttemptFacts): Consequence {
  const { now, deferrals } = facts;
  const later = (delayMs: number) => new Date(now.getTime() + delayMs);
  const wait = failure.wait ?? (failure.kind === "unknown" ? reconcile : undefined);
  const askedMs =
    failure.retryAfterMs === undefined
      ? undefined
      : Math.max(failure.retryAfterMs, retryAfterMinMs);
  const inARow = deferrals.code === failure.code ? deferrals.count : 0;
  if (wait && (wait.max === undefined || inARow < wait.max)) {
    return { then: "defer", until: later(askedMs ?? wait.delayMs) };
  }
  if (failure.kind === "operator") return { then: "park" };
  const passing = ["transient", "unknown", "conflict"].includes(failure.kind);
  if (!passing && !outdated.has(failure.code)) return { then: "fail" };
  if (facts.attempt >= facts.tries) return { then: "fail" };
  const tooMany = facts.maxExceptions > 0 && facts.exceptions + 1 >= facts.maxExceptions;
  if (tooMany && isException(failure)) return { then: "fail" };
  return { then: "retry", at: later(askedMs ?? backoffOf(facts)) };
}
