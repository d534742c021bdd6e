/** The port through which the engine reaches servers; implemented over SSH, and by fakes in unit tests. */
import type { Readable } from "node:stream";
import type { Script } from "./script.ts";

/** On whose behalf a script runs, and under which fence. */
export type RunContext = {
  readonly tenant: string;
  readonly jobId: string;
  /** `<journal epoch>.<sequence of JobStarted>`; a server that has seen a higher one refuses. */
  readonly fence: string;
  readonly serverId: string;
  /** The exclusive keys of the job, sorted; the fence is kept per key on the server. */
  readonly leaseKeys: readonly string[];
  /** The step's name: the same job, generation and step find the same run again after a cut. */
  readonly step: string;
  readonly signal: AbortSignal;
  /** Log in with this key of the server instead of the current one; only the credentials service may. */
  readonly keyId?: string;
  /** Told that a script may have begun there, and that nothing of the run is left there; silence: nobody knows. */
  readonly watch?: { begun(): void; over(): void };
};

export type ScriptRun<Output> = {
  readonly output: Output;
  readonly exitCode: number;
  /** Last lines of stderr, scrubbed, at most 4 KiB. */
  readonly outputTail: string;
};

/** What flows while a script runs attached. Stdout of the script goes to `download`, `upload` feeds its stdin. */
export type Flow<Received> = {
  readonly download?: (stream: Readable, signal: AbortSignal) => Promise<Received>;
  readonly upload?: (signal: AbortSignal) => Promise<Readable>;
};

export type Servers = {
  /**
   * Runs a script in its own process session, with result files on the server: a cut connection is reconciled by
   * the next call with the same context, not repeated. Throws the Failure of the script's exit code and `error=`.
   */
  run<Input, Output>(
    context: RunContext,
    script: Script<Input, Output>,
    input: Input,
  ): Promise<ScriptRun<Output>>;
  /** Runs a script attached, with bytes flowing; a cut ends it on both sides. */
  transfer<Input, Output, Received = undefined>(
    context: RunContext,
    script: Script<Input, Output>,
    input: Input,
    flow: Flow<Received>,
  ): Promise<ScriptRun<Output> & { readonly received: Received }>;
  /**
   * Ends whatever runs on the server under the lease keys, whose ever it is, and has what comes later with an older
   * fence refused. Settles when nothing of it is left. Failures: `fenced` when the server has seen a newer fence,
   * `step-timeout` when something does not end, and those of reaching the server.
   */
  stop(context: RunContext): Promise<void>;
  close(): Promise<void>;
};
