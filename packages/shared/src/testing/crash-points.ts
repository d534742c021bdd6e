/** Retry-safety of a job in one line: it dies after every step in turn and must come to the same end. */
import { deepStrictEqual } from "node:assert/strict";
import { classify } from "../failure/failure.ts";
import type { Job } from "../job/job.ts";
import type { FinishedStep } from "../job/run-steps.ts";
import type { AnyAggregate } from "../aggregate/aggregate.ts";
import type { Answers } from "./fake-servers.ts";
import { fakeRun } from "./fake-run.ts";

type End = { readonly result: unknown } | { readonly failure: string };

export type CrashPointsSettings<Input> = {
  readonly input: Input;
  readonly answers?: Answers;
  readonly now?: () => Date;
};

// biome-ignore lint/suspicious/noExplicitAny: any aggregate and result whatever.
type JobOf<Input> = Job<AnyAggregate & any, Input, any>;

type Settings<Input> = {
  readonly of: JobOf<Input>;
  readonly given: CrashPointsSettings<Input>;
  readonly memory: Map<string, FinishedStep>;
};

/** Runs `work` until it ends, or until it has died after `dieAfter` more steps: then undefined. */
async function passThrough<Input>(
  { of, given, memory }: Settings<Input>,
  { attempt, dieAfter }: { attempt: number; dieAfter: number },
): Promise<End | undefined> {
  let steps = 0;
  const death = Promise.withResolvers<undefined>();
  const run = fakeRun(given.answers, {
    memory,
    attempt,
    ...(given.now && { now: given.now }),
    finished() {
      steps += 1;
      if (steps !== dieAfter) return undefined;
      death.resolve(undefined);
      // A dead process never comes back from its last step.
      return new Promise<void>(() => {});
    },
  });
  const end = of.work(given.input, run).then(
    (result: unknown): End => ({ result }),
    (error: unknown): End => ({ failure: classify(error).code }),
  );
  return Promise.race([end, death.promise]);
}

/**
 * Runs `work` once through, then again and again: each time it dies after one more step, comes back with what is
 * remembered, and must end as the undisturbed run did (same result, outcome or failure code). Throws an
 * AssertionError that names the step otherwise. Answers how many crash points there were.
 */
export async function crashPoints<Input>(
  of: JobOf<Input>,
  given: CrashPointsSettings<Input>,
): Promise<number> {
  const undisturbed = new Map<string, FinishedStep>();
  const expected = await passThrough(
    { of, given, memory: undisturbed },
    { attempt: 1, dieAfter: Number.POSITIVE_INFINITY },
  );
  const steps = [...undisturbed.keys()];
  for (const [index, step] of steps.entries()) {
    const memory = new Map<string, FinishedStep>();
    await passThrough({ of, given, memory }, { attempt: 1, dieAfter: index + 1 });
    const end = await passThrough(
      { of, given, memory },
      { attempt: 2, dieAfter: Number.POSITIVE_INFINITY },
    );
    deepStrictEqual(
      end,
      expected,
      `after dying behind the step "${step}" the job ends differently`,
    );
  }
  return steps.length;
}
