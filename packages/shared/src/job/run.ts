/** What `work` is given: journaled steps, scripts on servers, and the ways to wait or stop. */
import type { AnyAggregate, InputOf } from "../aggregate/aggregate.ts";
import type { Script } from "../script/script.ts";
import type { Flow } from "../script/servers.ts";
import type { Deferred, Skipped } from "./outcome.ts";

/** Plain JSON with dates and bigints allowed: what a step may remember. A Secret anywhere in it is refused. */
export type StepResult =
  | string
  | number
  | boolean
  | null
  | undefined
  | bigint
  | Date
  | readonly StepResult[]
  | { readonly [key: string]: StepResult };

/** What an undo may use: the same ways to act, not journaled as steps. */
export type Undoing = {
  readonly signal: AbortSignal;
  script<Input, Output>(
    script: Script<Input, Output>,
    serverId: string,
    input: Input,
  ): Promise<Output>;
};

export type StepOptions<Result> = {
  /** Asked when a remembered result is about to be used: false runs the step again. */
  readonly check?: (result: Result, undoing: Undoing) => Promise<boolean>;
  /** Takes the step back; runs in reverse order, journaled, on permanent failure, last try or cancel. Must bear repeating. */
  readonly undo?: (result: Result, undoing: Undoing) => Promise<void>;
};

export type Run<A extends AnyAggregate = AnyAggregate> = {
  /** The job's id; also the idempotency key towards the outside world. */
  readonly id: string;
  readonly tenant: string;
  readonly actor: string;
  readonly attempt: number;
  readonly generation: number;
  /** `<journal epoch>.<sequence of JobStarted>`. */
  readonly fence: string;
  /** Aborts on timeout, cancel, lost lease or shutdown. */
  readonly signal: AbortSignal;
  now(): Date;
  /** A named part of the run: its result is remembered, and the step skipped when the run comes back. A name used twice throws. */
  step<Result extends StepResult | void>(
    name: string,
    fn: (signal: AbortSignal) => Promise<Result>,
    options?: StepOptions<Result>,
  ): Promise<Result>;
  /** A script on a server as a step. */
  script<Input, Output extends StepResult | void>(
    name: string,
    script: Script<Input, Output>,
    serverId: string,
    input: Input,
    options?: StepOptions<Output> & { readonly keyId?: string },
  ): Promise<Output>;
  /** A script whose bytes flow to or from the caller, as a step. */
  transfer<Input, Output extends StepResult | void, Received extends StepResult | void = undefined>(
    name: string,
    script: Script<Input, Output>,
    serverId: string,
    input: Input,
    flow: Flow<Received>,
    options?: StepOptions<{ output: Output; received: Received }>,
  ): Promise<{ output: Output; received: Received }>;
  /** A script as a plain question whose answer may change: not journaled, asked anew each time. */
  ask<Input, Output>(
    script: Script<Input, Output>,
    serverId: string,
    input: Input,
    options?: { readonly keyId?: string },
  ): Promise<Output>;
  /** Runs a command of the job's own aggregate now, as a step: for facts that hold before the job ends. */
  record<Name extends keyof A["commands"] & string>(
    name: string,
    command: Name,
    input: InputOf<A, Name>,
  ): Promise<void>;
  /** How far it is, for people; at most one entry a second is kept. */
  progress(percent: number, message: string): void;
  skip(reason: string): Skipped;
  defer(
    until: Date | { readonly minutes: number } | { readonly seconds: number },
    reason: string,
    code?: string,
  ): Deferred;
};
