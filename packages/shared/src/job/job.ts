/** Jobs: a named piece of slow work on one aggregate, declared as plain data around one `work` function. */
import type { AnyAggregate, InputOf } from "../aggregate/aggregate.ts";
import type { Codec } from "../aggregate/event-types.ts";
import type { WantedLimit } from "../limit/limits.ts";
import type { Outcome } from "./outcome.ts";
import type { Run } from "./run.ts";

export type Queue = "high" | "default" | "low";

/** What every outcome command is told: which job, what it was asked, when (the entry's time), for whom. */
export type JobFacts<Input> = {
  readonly jobId: string;
  readonly input: Input;
  readonly at: Date;
  readonly tenant: string;
  readonly actor: string;
};
export type Begun<Input> = JobFacts<Input>;
export type Done<Input, Result> = JobFacts<Input> & {
  readonly result: Result;
  readonly durationMs: number;
};
export type FailureReport<Input> = JobFacts<Input> & {
  readonly code: string;
  readonly kind: string;
  readonly message: string;
  readonly attempts: number;
  /** False when an undo itself failed: a person must look. */
  readonly undone: boolean;
};
export type Abandoned<Input> = JobFacts<Input> & { readonly reason: string };
export type Postponed<Input> = JobFacts<Input> & {
  readonly until: Date;
  readonly code: string;
  readonly reason: string;
};

/** Names of an aggregate's commands that take such an input. */
export type CommandTaking<A extends AnyAggregate, Given> = {
  [Name in keyof A["commands"] & string]: A["commands"][Name] extends (
    // biome-ignore lint/suspicious/noExplicitAny: the state does not matter here.
    state: any,
    input: infer Input,
  ) => unknown
    ? Given extends Input
      ? Name
      : never
    : never;
}[keyof A["commands"] & string];

/** What `work` must return: the result that the `done` command takes. */
export type ResultOf<A extends AnyAggregate, DoneName extends keyof A["commands"] & string> =
  InputOf<A, DoneName> extends { readonly result: infer Result } ? Result : undefined;

export type JobDefinition<A extends AnyAggregate, Input, DoneName extends string, Result> = {
  /** `<noun>.<verb>`, like `certificate.issue`. */
  readonly name: string;
  /** Generated codec: input is decoded and checked at the boundary. */
  readonly input: Codec<Input>;
  /** Id of the aggregate this run is about. */
  readonly of: (input: Input) => string;
  /** Ids in clear for searching and for the signer. */
  readonly site?: (input: Input) => string;
  readonly server?: (input: Input) => string;
  /** Total commands: what the log says once, after the first JobStarted / at the end. They never reject. */
  readonly started?: CommandTaking<A, Begun<Input>>;
  readonly done: DoneName;
  readonly failed: CommandTaking<A, FailureReport<Input>>;
  readonly cancelled: CommandTaking<A, Abandoned<Input>>;
  readonly deferred?: CommandTaking<A, Postponed<Input>>;
  readonly skipped?: CommandTaking<A, Abandoned<Input>>;
  readonly queue: Queue;
  /** Attempts in all, 1 to 100. */
  readonly tries: number;
  /** Time for one attempt, 1 s to 24 h. */
  readonly timeoutMs: number | ((input: Input) => number);
  /** Delay before attempt 2, 3, …; the last one repeats. Full jitter between half and the whole is applied. */
  readonly backoffMs: readonly number[];
  /** `exponential` doubles the first delay with every attempt and draws from zero on; default `list`. */
  readonly backoffKind?: "list" | "exponential";
  /** No delay between attempts is longer, unless the other side asked for one; default no such bound. */
  readonly backoffMaxMs?: number;
  /** So many unforeseen exceptions fail the job whatever its tries; default no such bound. */
  readonly maxExceptions?: number;
  /** While a job of this name with this key is pending, a dispatch answers with that one; empty: no such rule. */
  readonly unique?: (input: Input) => string;
  /** Frees that key when the job starts, instead of when it ends. */
  readonly uniqueUntilStart?: boolean;
  /** Keys that no other job may hold while this one runs, like `site.<id>`; taken in sorted order. */
  readonly exclusive?: (input: Input) => readonly string[];
  /** Named limits that each attempt is charged to, all or none; over the limit the job waits without an attempt. */
  readonly rateLimit?: (input: Input) => WantedLimit | readonly WantedLimit[];
  /** The host, like a server's id, whose repeated failures make jobs wait until one of them finds it well again. */
  readonly circuit?: (input: Input) => string;
  /** The work, as a list of steps. Code between steps runs again when the run comes back: cheap and harmless. */
  readonly work: (input: Input, run: Run<A>) => Promise<Result | Outcome>;
};

/** A job with its aggregate, as the engine runs it and reactors and RPCs dispatch it. */
export type Job<A extends AnyAggregate, Input, Result = unknown> = JobDefinition<
  A,
  Input,
  string,
  Result
> & {
  readonly aggregate: A;
  /** A request to run this job because of a fact; what a reactor returns. The id comes from the cause. */
  dispatch(input: Input, options?: DispatchOptions): DispatchRequest;
};

// biome-ignore lint/suspicious/noExplicitAny: any job whatever.
export type AnyJob = Job<any, any, any>;

export type DispatchOptions = {
  readonly queue?: Queue;
  readonly tries?: number;
  readonly timeoutMs?: number;
  readonly backoffMs?: readonly number[];
  /** Start no earlier. */
  readonly notBefore?: Date;
  /** Cancel when not started by then. */
  readonly expiresAt?: Date;
  readonly reason?: string;
  readonly tags?: readonly string[];
  /** While a job of this name with this key is pending, the dispatch answers with that job. */
  readonly uniqueKey?: string;
  /** Frees the key when the job starts, instead of when it ends. */
  readonly uniqueUntilStart?: boolean;
  /** So many unforeseen exceptions fail the job whatever its tries; 0: no such bound. */
  readonly maxExceptions?: number;
  readonly backoffKind?: "list" | "exponential";
  /** No delay between attempts is longer; 0: no such bound. */
  readonly backoffMaxMs?: number;
  /** What the job is a part of. */
  readonly chainId?: string;
  readonly batchId?: string;
  readonly scheduleId?: string;
};

export type DispatchRequest = {
  readonly kind: "dispatch";
  readonly job: AnyJob;
  readonly input: unknown;
  readonly options: DispatchOptions;
};

/** Declares a job of an aggregate. `work` must return what `done` takes. */
export function job<
  A extends AnyAggregate,
  Input,
  DoneName extends CommandTaking<A, Done<Input, never>>,
>(
  aggregate: A,
  definition: JobDefinition<A, Input, DoneName, ResultOf<A, DoneName>>,
): Job<A, Input, ResultOf<A, DoneName>> {
  const made: Job<A, Input, ResultOf<A, DoneName>> = {
    ...definition,
    aggregate,
    dispatch: (input, options = {}) => ({ kind: "dispatch", job: made, input, options }),
  };
  return made;
}
