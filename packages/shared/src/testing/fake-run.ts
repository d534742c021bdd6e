/** A `run` for unit tests of `work`: the engine's own step logic on canned answers and memory. */
import type { AnyAggregate } from "../aggregate/aggregate.ts";
import type { Run } from "../job/run.ts";
import { type FinishedStep, startRun, type StepStore, undoingOf } from "../job/run-steps.ts";
import { decodeResult } from "../job/step-result.ts";
import { type Answers, type FakeServers, fakeServers } from "./fake-servers.ts";

export type FakeRunOptions = {
  /** Default 2026-01-01T00:00:00Z, standing still. */
  readonly now?: () => Date;
  readonly id?: string;
  readonly tenant?: string;
  readonly attempt?: number;
  readonly leaseKeys?: readonly string[];
  /** Steps that finished in an earlier attempt; give the same map again to come back. */
  readonly memory?: Map<string, FinishedStep>;
  readonly mode?: "work" | "undo";
  readonly signal?: AbortSignal;
  /** Called when a step was written down. */
  readonly finished?: (step: string) => void | Promise<void>;
};

export type FakeRun<A extends AnyAggregate> = Run<A> & {
  readonly servers: FakeServers;
  /** Names of steps that really ran, in order. */
  readonly steps: readonly string[];
  readonly recorded: readonly { name: string; command: string; input: unknown }[];
  readonly progressed: readonly { percent: number; message: string }[];
  /** Undoes what was done, in reverse, as the engine does on a permanent failure; answers the names. */
  undo(): Promise<readonly string[]>;
};

const storeIn = (
  memory: Map<string, FinishedStep>,
  finished: (step: string) => void | Promise<void>,
): StepStore => ({
  remembered(step) {
    const found = memory.get(step);
    return found && { result: decodeResult(found.result), undoable: found.undoable };
  },
  finishedBefore: (step) => (memory.has(step) ? 1 : 0),
  async finish(step) {
    memory.set(step.step, step);
    await finished(step.step);
  },
});

/** A run that answers scripts from a table: a value, an Error to throw, or a function of the input. */
// biome-ignore lint/suspicious/noExplicitAny: the aggregate is inferred where the run is used.
export function fakeRun<A extends AnyAggregate = any>(
  answers: Answers = {},
  options: FakeRunOptions = {},
): FakeRun<A> {
  const servers = fakeServers(answers);
  const steps: string[] = [];
  const recorded: { name: string; command: string; input: unknown }[] = [];
  const progressed: { percent: number; message: string }[] = [];
  const settings = {
    id: options.id ?? "job-1",
    tenant: options.tenant ?? "tenant-1",
    actor: "tester",
    attempt: options.attempt ?? 1,
    generation: 1,
    fence: `1.${options.attempt ?? 1}`,
    leaseKeys: options.leaseKeys ?? [],
    signal: options.signal ?? new AbortController().signal,
    mode: options.mode ?? ("work" as const),
    now: options.now ?? (() => new Date("2026-01-01T00:00:00Z")),
    store: storeIn(options.memory ?? new Map(), async (step) => {
      steps.push(step);
      await options.finished?.(step);
    }),
    servers,
    async record(name: string, command: string, input: unknown) {
      recorded.push({ name, command, input });
    },
    progress: (percent: number, message: string) => void progressed.push({ percent, message }),
  };
  const started = startRun<A>(settings);
  async function undo(): Promise<readonly string[]> {
    const undoing = undoingOf(settings, new AbortController().signal);
    const undone = started.undos.toReversed();
    for (const { undo: take } of undone) await take(undoing);
    return undone.map(({ step }) => step);
  }
  return { ...started.run, servers, steps, recorded, progressed, undo };
}
