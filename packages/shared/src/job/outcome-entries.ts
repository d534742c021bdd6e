/** How an attempt's end becomes journal entries, with the events it decides written ahead. */
import type { DecidedEvent, FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import { classify, type Failure } from "../failure/failure.ts";
import { scrubLine } from "../secrets/scrub.ts";
import { appendDecided, decideEvents } from "./decided-events.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob } from "./job.ts";
import { journalEvents } from "./journal-events.ts";
import type { JournalWriter } from "./journal-writer.ts";
import type { Deferred } from "./outcome.ts";
import { sealFor } from "./payload.ts";
import { encodeResult } from "./step-result.ts";

/** One job in a worker's hands. */
export type Subject = {
  readonly engine: Engine;
  readonly job: AnyJob;
  readonly journal: JournalWriter;
  readonly input: unknown;
  /** Sequence of the JobStarted that this process goes by: facts are only recorded while it is the newest. */
  readonly startedSequence: number;
  readonly startedAt: Date;
  /** Servers on which a script was begun whose end is not known, in this attempt or before. */
  readonly openServers: Set<string>;
};

/** What people read of a failure; scrubbed. */
export const infoOf = (failure: Failure, step = ""): FailureInfo => ({
  code: failure.code,
  kind: failure.kind,
  message: scrubLine(failure.message),
  step,
});

const factsOf = ({ engine, journal, input }: Subject) => ({
  jobId: journal.jobId,
  tenant: journal.tenant,
  actor: journal.state().queued?.actor ?? "system",
  input,
  at: engine.clock.now(),
});

const decideFor = (
  subject: Subject,
  phase: string,
  command: string | undefined,
  input: object,
): Promise<DecidedEvent[]> => {
  const { engine, job, journal } = subject;
  const { tenant, jobId } = journal;
  return decideEvents(engine, {
    job,
    tenant,
    jobId,
    state: journal.state(),
    command,
    phase,
    input: { ...factsOf(subject), ...input },
  });
};

/** What people must read when the end of a script is not known; empty when all is well. */
export const mayRunOn = (serverIds: readonly string[]): string =>
  serverIds.length === 0 ? "" : `; a script may still run on ${serverIds.join(", ")}`;

type Entry = Parameters<JournalWriter["fact"]>[1][number];

/** Writes an outcome ahead, then its events to the event log. */
async function record(subject: Subject, entry: Entry): Promise<void> {
  const { engine, journal, startedSequence } = subject;
  await journal.fact(startedSequence, [entry]);
  await appendDecided(engine, journal.jobId, journal.state());
}

/** The events of the first JobStarted. */
export const decideStarted = (
  subject: Omit<Subject, "startedSequence" | "startedAt" | "openServers">,
) =>
  decideFor(
    { ...subject, startedSequence: 0, startedAt: new Date(0), openServers: new Set() },
    "started",
    subject.job.started,
    {},
  );

/** JobCompleted. What `encodeResult` throws passes through before anything is written. */
export async function recordCompleted(subject: Subject, result: unknown): Promise<void> {
  const { engine, job, journal, startedAt } = subject;
  const { tenant, jobId } = journal;
  const encoded = encodeResult(result);
  const durationMs = engine.clock.now().getTime() - startedAt.getTime();
  const events = await decideFor(subject, "done", job.done, { result, durationMs });
  if (result !== undefined) await engine.sealer.ready(tenant);
  // Most jobs answer with their events alone, and nothing needs no seal.
  const sealed =
    result === undefined
      ? undefined
      : sealFor(engine.sealer, { tenant, jobId, kind: "result" }, encoded);
  const completed = { result: sealed, events, durationMs: BigInt(durationMs) };
  await record(subject, journalEvents.JobCompleted(completed));
}

export async function recordSkipped(subject: Subject, reason: string): Promise<void> {
  const events = await decideFor(subject, "skipped", subject.job.skipped, { reason });
  await record(subject, journalEvents.JobSkipped({ reason, events }));
}

/** JobDeferred; `tell` runs the job's `deferred` command, which is for waits that people should know of. */
export async function recordDeferred(
  subject: Subject,
  { until, code, reason }: Omit<Deferred, "outcome">,
  tell: boolean,
): Promise<void> {
  const command = tell ? subject.job.deferred : undefined;
  const phase = `deferred-${subject.startedSequence}`;
  const events = await decideFor(subject, phase, command, { until, code, reason });
  const openServerIds = [...subject.openServers];
  await record(subject, journalEvents.JobDeferred({ until, code, reason, events, openServerIds }));
}

export const attemptFailedOf = (
  { journal, openServers }: Subject,
  failure: FailureInfo,
  nextAt: Date | undefined,
) =>
  journalEvents.JobAttemptFailed({
    ...{ attempt: journal.state().attempts, failure, nextAt, openServerIds: [...openServers] },
  });

export const recordAttemptFailed = (
  subject: Subject,
  failure: FailureInfo,
  nextAt: Date | undefined,
): Promise<void> => record(subject, attemptFailedOf(subject, failure, nextAt));

export const recordParked = (subject: Subject, failure: FailureInfo): Promise<void> =>
  record(
    subject,
    journalEvents.JobParked({
      ...{ failure, remedy: "mend the cause, then resume the job" },
      openServerIds: [...subject.openServers],
    }),
  );

export async function recordFailed(
  subject: Subject,
  failure: FailureInfo,
  undone: boolean,
): Promise<void> {
  const { engine, job, journal } = subject;
  const { attempts } = journal.state();
  const { code, kind, message } = failure;
  const report = { code, kind, message, attempts, undone };
  const events = await decideFor(subject, "failed", job.failed, report);
  const openServerIds = [...subject.openServers];
  const told = { ...failure, message: message + mayRunOn(openServerIds) };
  await record(
    subject,
    journalEvents.JobFailed({ failure: told, events, attempts, openServerIds }),
  );
  const facts = { jobId: journal.jobId, tenant: journal.tenant, job: job.name, ...report };
  if (kind === "security" || !undone) engine.logger.error({ alert: true, ...facts }, "job failed");
  else engine.logger.warn(facts, "job failed");
}

export async function recordCancelled(
  subject: Subject,
  { reason, actor }: { reason: string; actor: string },
): Promise<void> {
  const events = await decideFor(subject, "cancelled", subject.job.cancelled, { reason });
  const openServerIds = [...subject.openServers];
  const told = reason + mayRunOn(openServerIds);
  await record(subject, journalEvents.JobCancelled({ reason: told, actor, events, openServerIds }));
}

/** JobCancelAcknowledged, once for a wish: from here on it is known that a worker heeds it. */
export async function recordCancelAcknowledged(subject: Subject): Promise<void> {
  const { engine, journal, startedSequence } = subject;
  const { cancel, cancelAcknowledged } = journal.state();
  if (!cancel || cancelAcknowledged) return;
  const { worker } = engine;
  await journal.fact(startedSequence, [journalEvents.JobCancelAcknowledged({ worker })]);
}

/** True when a newer attempt or an end is in the journal: nothing of ours counts any more. */
export const isFenced = (error: unknown): boolean => classify(error).code === "fenced";
