/** One launch on a server over one channel: what goes in, what flows, and the launcher's report. */
import { once } from "node:events";
import { Readable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { failureOf } from "../failure/failure.ts";
import { commandLine } from "./program.ts";
import { maxReportBytes, parseReport, type Report } from "./report.ts";
import { type Connection, unlessAborted } from "./ssh.ts";

export type RemoteRun = {
  readonly opening: Buffer;
  /** Aborting it closes the channel; a detached run on the server goes on. */
  readonly signal: AbortSignal;
};

type Begun = {
  readonly channel: ClientChannel;
  readonly report: Promise<Report>;
  /** Settles once the script runs, or never will. */
  readonly started: Promise<void>;
};

/** Runs the launcher to its end and gives its report. */
export async function runRemotely(connection: Connection, run: RemoteRun): Promise<Report> {
  const { channel, report } = await begin(connection, run);
  channel.on("data", () => {}).end();
  return report;
}

/** Starts the launcher with its opening lines; the report settles when the channel closes or all is lost. */
export async function begin(connection: Connection, run: RemoteRun): Promise<Begun> {
  const channel = await connection.exec(commandLine, run.signal);
  channel.on("error", () => {}); // its loss is told by the connection
  let said = "";
  let exitCode: number | undefined;
  const started = Promise.withResolvers<void>();
  const closed = new Promise<Report>((resolve, reject) => {
    channel.stderr.setEncoding("latin1").on("data", (text: string) => {
      said += text;
      if (/^started=yes$/m.test(said)) started.resolve();
      if (said.length <= maxReportBytes) return;
      channel.close();
      reject(failureOf("output-too-large", "the server says more than 2 MiB about a run"));
    });
    channel.on("exit", (code: number | null) => {
      exitCode = code ?? undefined;
    });
    channel.on("close", () => {
      try {
        resolve(parseReport(said, exitCode));
      } catch (error) {
        reject(error);
      }
    });
  });
  const report = unlessAborted(closed, [connection.lost, run.signal]).catch((error: unknown) => {
    channel.close();
    throw error;
  });
  const settle = () => started.resolve();
  report.then(settle, settle);
  channel.write(run.opening);
  return { channel, report, started: started.promise };
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
