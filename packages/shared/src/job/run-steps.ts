/** The `run` that `work` is given: steps are remembered by name, skipped when the run comes back, and undone in reverse. */
import type { AnyAggregate } from "../aggregate/aggregate.ts";
import { permanent } from "../failure/failure.ts";
import type { Script } from "../script/script.ts";
import type { RunContext, Servers } from "../script/servers.ts";
import { inSpan } from "../telemetry/tracing.ts";
import type { Deferred } from "./outcome.ts";
import type { Run, StepOptions, Undoing } from "./run.ts";
import { decodeResult, encodeResult } from "./step-result.ts";

/** A step that finished earlier, in this attempt or before. */
export type RememberedStep = {
  readonly result: unknown;
  /** It registered an undo when it ran. */
  readonly undoable: boolean;
};

/** What is written down when a step finishes. */
export type FinishedStep = {
  readonly step: string;
  /** Encoded by step-result.ts. */
  readonly result: Buffer;
  readonly durationMs: number;
  readonly serverId: string;
  readonly exitCode: number;
  readonly outputTail: string;
  readonly undoable: boolean;
};

export type StepStore = {
  remembered(step: string): RememberedStep | undefined;
  /** How often the step finished before, in all generations: tells reruns apart on the server. */
  finishedBefore(step: string): number;
  /** Durable when it answers. */
  finish(step: FinishedStep): Promise<void>;
};

export type RunSettings = {
  readonly id: string;
  readonly tenant: string;
  readonly actor: string;
  readonly attempt: number;
  readonly generation: number;
  readonly fence: string;
  readonly leaseKeys: readonly string[];
  readonly signal: AbortSignal;
  /** `undo`: remembered steps answer and register their undo; the first other one stops. */
  readonly mode: "work" | "undo";
  readonly now: () => Date;
  readonly store: StepStore;
  readonly servers: Servers;
  /** Appends what a command of the job's aggregate decides, once per name. */
  readonly record: (name: string, command: string, input: unknown) => Promise<void>;
  readonly progress: (percent: number, message: string) => void;
};

export type PendingUndo = {
  readonly step: string;
  readonly undo: (undoing: Undoing) => Promise<void>;
};

export type StartedRun = {
  readonly run: Run;
  /** In the order in which the steps were passed. */
  readonly undos: readonly PendingUndo[];
  /** Names of the steps that were passed. */
  readonly visited: ReadonlySet<string>;
  /** The step that is running or failed last, empty outside of steps. */
  currentStep(): string;
};

/** Thrown in undo mode at the first step that never finished. */
const endOfMemory = permanent("end-of-memory", "nothing after this step has happened");
export const isEndOfMemory = (error: unknown): boolean => error === endOfMemory;

type Effect<Result> = {
  readonly result: Result;
  readonly exitCode: number;
  readonly outputTail: string;
};
type Log = {
  undos: PendingUndo[];
  visited: Set<string>;
  step: string;
  /** What questions are called on servers, and how many were asked. */
  asks: "question" | "undo";
  questions: number;
};

/** The name of a step as servers see it: reruns of a finished step are told apart from coming back to it. */
const nameOnServer = (step: string, generation: number, finishedBefore: number): string =>
  generation === 1 && finishedBefore === 0 ? step : `${step} #${generation}.${finishedBefore}`;

function undoingWith(settings: RunSettings, log: Log, signal: AbortSignal): Undoing {
  return {
    signal,
    async script<Input, Output>(script: Script<Input, Output>, serverId: string, input: Input) {
      const question = questionContext(settings, log, { serverId, signal });
      return (await settings.servers.run(question, script, input)).output;
    },
  };
}

function contextOf(
  settings: RunSettings,
  step: string,
  serverId: string,
  keyId: string | undefined,
): RunContext {
  const { tenant, id, fence, leaseKeys, signal } = settings;
  return { tenant, jobId: id, fence, serverId, leaseKeys, step, signal, ...(keyId && { keyId }) };
}

type Question = {
  readonly serverId: string;
  readonly signal: AbortSignal;
  readonly keyId?: string | undefined;
};

/** Questions and undos have a name of their own each time: their answer is never taken from an earlier run. */
function questionContext(
  settings: RunSettings,
  log: Log,
  { serverId, signal, keyId }: Question,
): RunContext {
  log.questions += 1;
  const step = `${log.asks} ${settings.fence} ${log.questions}`;
  return { ...contextOf(settings, step, serverId, keyId), signal };
}

async function passStep<Result>(
  settings: RunSettings,
  log: Log,
  step: { name: string; serverId: string; options: StepOptions<Result> },
  effect: () => Promise<Effect<Result>>,
): Promise<Result> {
  const { name, options } = step;
  if (log.visited.has(name)) {
    throw permanent("step-name-repeated", `two steps of this run are called "${name}"`);
  }
  const pass = (result: Result): Result => {
    log.visited.add(name);
    const undo = options.undo;
    if (undo) log.undos.push({ step: name, undo: (undoing) => undo(result, undoing) });
    return result;
  };
  const remembered = settings.store.remembered(name);
  if (settings.mode === "undo") {
    if (!remembered) throw endOfMemory;
    return pass(remembered.result as Result);
  }
  settings.signal.throwIfAborted();
  log.step = name;
  if (remembered) {
    const result = remembered.result as Result;
    const undoing = undoingWith(settings, log, settings.signal);
    if (!options.check || (await options.check(result, undoing))) {
      log.step = "";
      return pass(result);
    }
  }
  const startedAt = settings.now().getTime();
  const facts = { "chom.step": name };
  const done = await inSpan({ name: `step ${name}`, facts }, effect);
  const encoded = encodeResult(done.result);
  await settings.store.finish({
    step: name,
    result: encoded,
    durationMs: settings.now().getTime() - startedAt,
    serverId: step.serverId,
    exitCode: done.exitCode,
    outputTail: done.outputTail,
    undoable: options.undo !== undefined,
  });
  log.step = "";
  // What is returned now is what a run that comes back is given.
  return pass(decodeResult(encoded) as Result);
}

function untilOf(until: Date | { minutes: number } | { seconds: number }, now: Date): Date {
  if (until instanceof Date) return until;
  const delayMs = "minutes" in until ? until.minutes * 60_000 : until.seconds * 1_000;
  return new Date(now.getTime() + delayMs);
}

const defer =
  (settings: RunSettings): Run["defer"] =>
  (until, reason, code = "deferred"): Deferred => ({
    outcome: "deferred",
    until: untilOf(until, settings.now()),
    code,
    reason,
  });

/** Starts one pass through `work`. */
export function startRun<A extends AnyAggregate>(
  settings: RunSettings,
): StartedRun & { run: Run<A> } {
  const asks = settings.mode === "undo" ? "undo" : "question";
  const log: Log = { undos: [], visited: new Set(), step: "", asks, questions: 0 };
  const onServer = (name: string, serverId: string, keyId?: string) => {
    const before = settings.store.finishedBefore(name);
    return contextOf(settings, nameOnServer(name, settings.generation, before), serverId, keyId);
  };
  const run: Run<A> = {
    id: settings.id,
    tenant: settings.tenant,
    actor: settings.actor,
    attempt: settings.attempt,
    generation: settings.generation,
    fence: settings.fence,
    signal: settings.signal,
    now: settings.now,
    step: (name, fn, options = {}) =>
      passStep(settings, log, { name, serverId: "", options }, async () => {
        const result = await fn(settings.signal);
        return { result, exitCode: 0, outputTail: "" };
      }),
    script: ((...given: Parameters<Run["script"]>) => {
      const [name, script, serverId, input, options = {}] = given;
      return passStep(settings, log, { name, serverId, options }, async () => {
        const context = onServer(name, serverId, options.keyId);
        const { output, exitCode, outputTail } = await settings.servers.run(context, script, input);
        return { result: output, exitCode, outputTail };
      });
      // As with `transfer`: five parameters by name are the interface's, not ours to write again.
    }) as Run["script"],
    transfer: ((...given: Parameters<Run["transfer"]>) => {
      const [name, script, serverId, input, flow, options = {}] = given;
      return passStep(settings, log, { name, serverId, options }, async () => {
        const done = await settings.servers.transfer(onServer(name, serverId), script, input, flow);
        const { output, received, exitCode, outputTail } = done;
        return { result: { output, received }, exitCode, outputTail };
      });
      // The generic signature takes six parameters by name; a rest parameter cannot say that.
    }) as Run["transfer"],
    async ask(script, serverId, input, options = {}) {
      const { signal } = settings;
      const question = questionContext(settings, log, { serverId, signal, keyId: options.keyId });
      return (await settings.servers.run(question, script, input)).output;
    },
    record: (name, command, input) =>
      passStep(settings, log, { name, serverId: "", options: {} }, async () => {
        await settings.record(name, command, input);
        return { result: undefined, exitCode: 0, outputTail: "" };
      }),
    progress: settings.progress,
    skip: (reason) => ({ outcome: "skipped", reason }),
    defer: defer(settings),
  };
  return { run, undos: log.undos, visited: log.visited, currentStep: () => log.step };
}

/** How undos act on servers, outside of steps; made once for all undos of an attempt. */
export function undoingOf(settings: RunSettings, signal: AbortSignal): Undoing {
  const log: Log = { undos: [], visited: new Set(), step: "", asks: "undo", questions: 0 };
  return undoingWith(settings, log, signal);
}
