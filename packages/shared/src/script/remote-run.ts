/** One launch on a server over one channel: what goes in, what flows, and the launcher's report. */
import { once } from "node:events";
import { Readable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { failureOf } from "../failure/failure.ts";
import { commandLine } from "./program.ts";
import { parseReport, type Report, reportText } from "./report.ts";
import { type Connection, unlessAborted } from "./ssh.ts";

export type RemoteRun = {
  readonly opening: Buffer;
  /** Aborting it closes the channel; a detached run on the server goes on. */
  readonly signal: AbortSignal;
  /** Whether the channel is closed for the server when it does not end after the last word of the report. */
  readonly closes?: boolean;
};

const maxDiscardedBytes = 65_536;

type Begun = {
  readonly channel: ClientChannel;
  readonly report: Promise<Report>;
  /** Takes stdout of a run that has none: 64 KiB are thrown away, more is Failure `output-too-large`. */
  readonly discard: () => void;
  /** Settles once the script runs, or never will. */
  readonly started: Promise<void>;
};

/** Runs the launcher to its end and gives its report. */
export async function runRemotely(connection: Connection, run: RemoteRun): Promise<Report> {
  const { channel, report, discard } = await begin(connection, { ...run, closes: true });
  discard();
  channel.end();
  return report;
}

/**
 * Starts the launcher with its opening lines; the report settles when the channel closes or all is lost. Failure
 * `ssh-misbehaving` when nothing begins in time, `output-too-large` when the report is larger than 2 MiB.
 */
export async function begin(connection: Connection, run: RemoteRun): Promise<Begun> {
  const { channel, exitCode } = await connection.exec(commandLine, run.signal);
  channel.on("error", () => {}); // its loss is told by the connection
  const { beginMs, closeMs } = connection.deadlines;
  const started = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<Report>();
  const give = (code: string, message: string) => closed.reject(failureOf(code, message));
  const mute = setTimeout(
    () => give("ssh-misbehaving", `the server did not begin a run within ${beginMs} ms`),
    beginMs,
  );
  let lingers: NodeJS.Timeout | undefined;
  const said = reportText({
    "chom=1": () => clearTimeout(mute),
    "started=yes": () => started.resolve(),
    "end=1": () => {
      if (run.closes) lingers ??= setTimeout(end, closeMs);
    },
  });
  const end = () => {
    try {
      closed.resolve(parseReport(said.text(), exitCode()));
    } catch (error) {
      closed.reject(error);
    }
    channel.close();
  };
  channel.stderr.setEncoding("latin1").on("data", (text: string) => {
    if (!said.add(text)) give("output-too-large", "the server says more than 2 MiB about a run");
  });
  channel.on("close", end);
  const report = unlessAborted(closed.promise, [connection.lost, run.signal]).finally(() => {
    clearTimeout(mute);
    clearTimeout(lingers);
    started.resolve();
  });
  report.catch(() => channel.close());
  channel.write(run.opening);
  return {
    channel,
    report,
    started: started.promise,
    discard: () =>
      discard(channel, () => give("output-too-large", "the server prints where nothing is due")),
  };
}

function discard(channel: ClientChannel, tooMuch: () => void): void {
  let bytes = 0;
  channel.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxDiscardedBytes) tooMuch();
  });
}

/**
 * The script's stdout. It ends only after the report says that all went well: a cut or failed script never looks
 * like the end of the bytes. Holds at most a channel window (2 MiB).
 */
export function downloadOf(channel: ClientChannel, verdict: Promise<unknown>): Readable {
  const stream = new Readable({ read: () => void channel.resume() });
  channel.on("data", (chunk: Buffer) => {
    if (!stream.push(chunk)) channel.pause();
  });
  const ended = once(channel, "end").catch(() => {});
  verdict.then(
    () => ended.then(() => stream.push(null)),
    (error: unknown) => stream.destroy(error as Error),
  );
  stream.on("error", () => {});
  return stream;
}

/** Feeds a stream to the script's stdin as fast as it reads; stops when the script ends. */
export async function feed(
  channel: ClientChannel,
  upload: Readable,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const chunk of upload) {
      if (signal.aborted) return;
      if (!channel.write(chunk)) await once(channel, "drain", { signal });
    }
    channel.end();
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    upload.destroy();
  }
}
