/** Servers with canned answers per script name, in place of SSH. */
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { classify, failureOf } from "../failure/failure.ts";
import type { Script } from "../script/script.ts";
import type { Flow, RunContext, Servers } from "../script/servers.ts";

/** One call that a fake server got. */
export type ServerCall = {
  readonly script: string;
  readonly serverId: string;
  readonly step: string;
  readonly input: unknown;
  readonly context: RunContext;
  /** What was uploaded, for a transfer that sends. */
  uploaded?: Buffer;
};

/**
 * What a script answers: its output; an Error to throw; or a function of input, call and how often the script was
 * called (from 1), which gives either. Wrap the output in `streamed` when the script also sends bytes.
 */
export type Answer = unknown;

/** Canned answers by the script's file name, like `{ "dump-database.sh": { path: "/tmp/x" } }`. */
export type Answers = Readonly<Record<string, Answer>>;

const streamedMark = Symbol("streamed");
type Streamed = { readonly [streamedMark]: Buffer; readonly output: unknown };

/** An answer of a transfer: the script's output and the bytes it sent on stdout. */
export const streamed = (output: unknown, bytes: Buffer | string): Streamed => ({
  output,
  [streamedMark]: Buffer.from(bytes as string),
});
const isStreamed = (value: unknown): value is Streamed =>
  typeof value === "object" && value !== null && streamedMark in value;

export type FakeServers = Servers & {
  readonly calls: readonly ServerCall[];
  /** What was to be ended there; the answer `stop`, an Error or a function of call and count, makes that fail. */
  readonly stops: readonly ServerCall[];
};

async function flowOf<Received>(
  flow: Flow<Received>,
  given: unknown,
  call: ServerCall,
): Promise<Received> {
  const { signal } = call.context;
  if (flow.upload) call.uploaded = await buffer(await flow.upload(signal));
  const bytes = isStreamed(given) ? given[streamedMark] : Buffer.alloc(0);
  // Without a download nothing is received; the caller's type says `undefined` then.
  return (await flow.download?.(Readable.from([bytes]), signal)) as Received;
}

/** Servers that answer from a table; a script without an answer is a Failure `protocol-error` that names it. */
export function fakeServers(answers: Answers): FakeServers {
  const calls: ServerCall[] = [];
  const stops: ServerCall[] = [];
  async function answer(context: RunContext, name: string, input: unknown) {
    context.signal.throwIfAborted();
    const { serverId, step } = context;
    const call: ServerCall = { script: name, serverId, step, input, context };
    calls.push(call);
    if (!Object.hasOwn(answers, name)) {
      throw failureOf("protocol-error", `no canned answer for ${name}`);
    }
    const canned = answers[name];
    const times = calls.filter(({ script }) => script === name).length;
    context.watch?.begun();
    const given = typeof canned === "function" ? await canned(input, call, times) : canned;
    // A cut tells nothing of the script's end; any other failure is the script's own.
    const isCut = given instanceof Error && classify(given).code === "ssh-connection-lost";
    if (!isCut) context.watch?.over();
    if (given instanceof Error) throw given;
    return { call, given, output: isStreamed(given) ? given.output : given };
  }
  return {
    calls,
    stops,
    async run<Input, Output>(context: RunContext, script: Script<Input, Output>, input: Input) {
      const { output } = await answer(context, script.name, input);
      return { output: output as Output, exitCode: 0, outputTail: "" };
    },
    async transfer<Input, Output, Received = undefined>(
      ...[context, script, input, flow]: [RunContext, Script<Input, Output>, Input, Flow<Received>]
    ) {
      const { call, given, output } = await answer(context, script.name, input);
      const received = await flowOf(flow, given, call);
      return { output: output as Output, received, exitCode: 0, outputTail: "" };
    },
    async stop(context) {
      context.signal.throwIfAborted();
      const { serverId, step } = context;
      const told: ServerCall = { script: "stop", serverId, step, input: undefined, context };
      stops.push(told);
      const canned = answers["stop"];
      const given = typeof canned === "function" ? await canned(told, stops.length) : canned;
      if (given instanceof Error) throw given;
    },
    close: () => Promise.resolve(),
  };
}
