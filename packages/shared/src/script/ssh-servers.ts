/** Servers over SSH: the port of `servers.ts` with real connections. */
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import { scrub } from "../secrets/scrub.ts";
import { Secret } from "../secrets/secret.ts";
import type { Logger } from "../telemetry/logger.ts";
import { timed, timing } from "../telemetry/metrics.ts";
import { inSpan } from "../telemetry/tracing.ts";
import { failureOfEnding } from "./exit-codes.ts";
import { fieldsOf, parseLines } from "./fields.ts";
import { type Launch, openingOf, programOf, stepHash } from "./program.ts";
import { begin, downloadOf, feed, runRemotely } from "./remote-run.ts";
import type { Report } from "./report.ts";
import type { Script, Variables } from "./script.ts";
import { readFileSync } from "node:fs";
import type { Flow, RunContext, ScriptRun, Servers } from "./servers.ts";
import { type SessionOptions, type SessionPorts, sessions } from "./sessions.ts";
import type { Connection } from "./ssh.ts";

// Beyond the script's own time: waiting for a lock, ending an earlier run, ending this one.
const graceMs = 120_000;
const stopMs = 30_000;

export type SshServersOptions = SessionPorts &
  Pick<SessionOptions, "deadlines" | "keepaliveMs" | "idleMs"> & {
    readonly logger: Logger;
  };

/**
 * Runs scripts on real servers. One script at a time of one job runs on one server: calls wait for their turn, so
 * never call it from within a flow of the same job. `close` leaves detached runs going.
 */
export function sshServers(options: SshServersOptions): Servers {
  const pool = sessions({
    ...options,
    onReportFailed: (error) =>
      options.logger.error({ err: classify(error).message }, "host key report failed"),
  });
  return {
    run: (context, script, input) =>
      observed(context, script, () =>
        pool.withConnection(context, context.signal, async (connection) => {
          const variables = script.variables(input);
          const { launch, opening } = prepare(context, script, variables, {
            mode: "run",
            upload: false,
          });
          beginning(context);
          const running = bounded(context, script, (signal) =>
            runRemotely(connection, { opening, signal }),
          );
          const report = await watched(context, running).catch((error: unknown) => {
            if (isHandedOver(context.signal)) throw error;
            return stopped(context, connection, launch, error);
          });
          return outcome(script, variables, report);
        }),
      ),
    transfer: (context, script, input, flow) =>
      observed(context, script, () =>
        pool.withConnection(context, context.signal, (connection) =>
          transfer(context, connection, { script, variables: script.variables(input) }, flow),
        ),
      ),
    stop: (context) =>
      pool.withConnection(context, context.signal, async (connection) => {
        const settings: Launch = {
          ...{ ...context, mode: "stop", upload: false, timeoutMs: 0 },
          step: stepHash(context.step, "stop", {}),
        };
        const opening = openingOf(settings, "");
        await bounded(context, { name: "stop", timeoutMs: 0 }, (signal) =>
          runRemotely(connection, { opening, signal }),
        );
      }),
    close: pool.close,
  };
}

function beginning({ signal, watch }: RunContext): void {
  signal.throwIfAborted();
  watch?.begun();
}

/** Tells the watch of a run: a report, and a fence that refused it, say that nothing of it is left on the server. */
async function watched({ watch }: RunContext, running: Promise<Report>): Promise<Report> {
  try {
    const report = await running;
    watch?.over();
    return report;
  } catch (error) {
    if (classify(error).code === "fenced") watch?.over();
    throw error;
  }
}

/** A script as a span and a measurement: from waiting for its turn on the connection to its report. */
function observed<T>(
  { serverId }: RunContext,
  { name: script }: { readonly name: string },
  work: () => Promise<T>,
): Promise<T> {
  const facts = { "chom.script": script, "chom.server.id": serverId };
  return timing(
    () => inSpan({ name: `ssh ${script}`, kind: "client", facts }, work),
    (outcome, tookMs) => timed("chom_ssh_script_seconds", { script, outcome }, tookMs),
  );
}

function prepare(
  context: RunContext,
  // biome-ignore lint/suspicious/noExplicitAny: input and output do not matter here.
  script: Script<any, unknown>,
  variables: Variables,
  how: Pick<Launch, "mode" | "upload">,
): { launch: Launch; opening: Buffer } {
  const launch: Launch = {
    ...context,
    ...how,
    step: stepHash(context.step, script.name, variables),
    timeoutMs: script.timeoutMs,
  };
  const program = programOf(readFileSync(script.file, "utf8"), variables);
  return { launch, opening: openingOf(launch, program) };
}

/** Runs with a signal that aborts for the caller's reason or when a server that should have answered did not. */
async function bounded<T>(
  context: RunContext,
  { name, timeoutMs }: { name: string; timeoutMs: number },
  use: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(failureOf("step-timeout", `${name}: the server told no end in time`)),
    timeoutMs + graceMs,
  );
  try {
    return await use(AbortSignal.any([context.signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** Another worker goes on with the job and finds the run: ending it would only cost its progress. */
const isHandedOver = ({ aborted, reason }: AbortSignal): boolean =>
  aborted && ["worker-stopping", "lease-lost"].includes(classify(reason).code);

/** After an abort the run on the server is ended, as far as the connection still lets us; then the reason is thrown. */
async function stopped(
  context: RunContext,
  connection: Connection,
  launch: Launch,
  error: unknown,
): Promise<never> {
  if (context.signal.aborted && !connection.lost.aborted) {
    const opening = openingOf({ ...launch, mode: "stop" }, "");
    // A newer attempt may own the server by now: then this one is refused, which is right.
    await runRemotely(connection, { opening, signal: AbortSignal.timeout(stopMs) })
      .then(() => context.watch?.over())
      .catch(() => {});
  }
  throw error;
}

async function transfer<Output, Received>(
  context: RunContext,
  connection: Connection,
  // biome-ignore lint/suspicious/noExplicitAny: the input became variables already.
  { script, variables }: { script: Script<any, Output>; variables: Variables },
  flow: Flow<Received>,
): Promise<ScriptRun<Output> & { readonly received: Received }> {
  const { launch, opening } = prepare(context, script, variables, {
    mode: "flow",
    upload: !!flow.upload,
  });
  const cancel = new AbortController();
  const inner = { ...context, signal: AbortSignal.any([context.signal, cancel.signal]) };
  return bounded(inner, script, async (signal) => {
    beginning(inner);
    const { channel, report, started, discard } = await begin(connection, { opening, signal });
    const ending = watched(inner, report).then((value) => outcome(script, variables, value));
    ending.catch(() => {});
    const over = new AbortController();
    const end = () => over.abort();
    ending.then(end, end);
    const moving = AbortSignal.any([signal, over.signal]);
    const up = sendUp(flow, channel, moving, async () => {
      // A few bytes are sent before their script has begun: then there is no run yet to tell it to.
      await started;
      const opening = openingOf({ ...launch, mode: "uploaded" }, "");
      if (!moving.aborted) await runRemotely(connection, { opening, signal: moving });
    });
    const down = flow.download
      ? flow.download(downloadOf(channel, ending), signal)
      : Promise.resolve(discard() as Received);
    // A flow that fails on our side ends the script; its own failure is what the caller must hear of.
    let ours: unknown;
    for (const side of [up, down]) {
      side.catch((error: unknown) => {
        if (over.signal.aborted || signal.aborted) return;
        ours ??= error;
        cancel.abort(error);
      });
    }
    const result = await ending.catch((error: unknown) => {
      throw ours ?? error;
    });
    const [, received] = await Promise.all([up, down]);
    return { ...result, received };
  }).catch((error: unknown) => stopped(inner, connection, launch, error));
}

async function sendUp(
  flow: Flow<unknown>,
  channel: Parameters<typeof feed>[0],
  signal: AbortSignal,
  confirm: () => Promise<unknown>,
): Promise<void> {
  if (!flow.upload) return void channel.end();
  await feed(channel, await flow.upload(signal), signal);
  // Only now may the script take the end of its input for the end of the bytes.
  if (!signal.aborted) {
    await confirm().catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** The script's output, or its Failure. What a Secret holds never gets into either. */
function outcome<Output>(
  // biome-ignore lint/suspicious/noExplicitAny: the input became variables already.
  script: Script<any, Output>,
  variables: Variables,
  report: Report,
): ScriptRun<Output> {
  const outputTail = tailOf(report, variables);
  if (report.status !== 0) throw failureOfReport(script.name, report, outputTail);
  const values = parseLines(report.out);
  if (values.has("error")) {
    throw failureOf("protocol-error", `${script.name} succeeded with an error`);
  }
  return { output: script.output(fieldsOf(values)), exitCode: report.status, outputTail };
}

function failureOfReport(script: string, report: Report, tail: string): Failure {
  const { status, timedOut } = report;
  // The results of a failed script may be cut anywhere; only its error line matters.
  const error = /^error=(.*)$/m.exec(report.out.toString("latin1"))?.[1];
  return failureOfEnding({ script, status, timedOut, error, tail });
}

function tailOf({ log, wholeLog }: Report, variables: Variables): string {
  let text = log.toString("utf8");
  for (const value of Object.values(variables)) {
    if (!(value instanceof Secret)) continue;
    for (const form of formsOf(value.reveal())) text = text.replaceAll(form, "[secret]");
  }
  const clean = scrub(text, 4_000);
  if (!wholeLog) return clean;
  return `[of ${wholeLog.sizeBytes} bytes, SHA-256 ${wholeLog.sha256}]\n${clean}`;
}

/** How a secret may look in what a tool prints: as it is, line by line, in base64. Short ones would hit words. */
const formsOf = (secret: string): string[] =>
  [secret, ...secret.split("\n"), Buffer.from(secret).toString("base64")].filter(
    (form) => form.trim().length >= 4,
  );
