/** What a journal entry changes of a job as people see it. Pure; the read model and `WatchJob` agree by using it. */
import type { FailureInfo, JobQueued } from "@chom/proto/chom/jobs/v1/journal";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import type { JournalEntry } from "@chom/shared/job/journal";
import { journalEvents } from "@chom/shared/job/journal-events";
import type { JobRow } from "./tables.ts";

type Change = Partial<Omit<JobRow, "tenant" | "jobId" | "family">>;

const failed = (failure: FailureInfo | undefined): Change => ({
  failureCode: failure?.code ?? "",
  failureKind: failure?.kind ?? "",
  failureMessage: failure?.message ?? "",
  failureStep: failure?.step ?? "",
});

const ended = (state: JobState, { time, position }: EventMeta): Change => ({
  ...{ state, endedAt: time, dueAt: null, endedSequence: position },
});

type Belonging = Record<"chainId" | "batchId" | "scheduleId", string>;

/** The chain, batch and schedule that a job belongs to. */
function belonging(queued: JobQueued & Partial<Belonging>): Change {
  const { chainId = "", batchId = "", scheduleId = "" } = queued;
  return { chainId, batchId, scheduleId };
}

/** The change of one entry; fields it does not name stay as they are. */
export function changeOf({ name, data, meta }: JournalEntry): Change {
  const at = meta.time;
  switch (name) {
    case "JobQueued": {
      const { jobName, queue, siteId, serverId, aggregateId, tries, actor, reason, tags } = data;
      const isLater = data.notBefore !== undefined && data.notBefore > at;
      return {
        ...{ name: jobName, queue, siteId, serverId, aggregateId, tries, actor, reason, tags },
        state: isLater ? JobState.SCHEDULED : JobState.QUEUED,
        queuedAt: at,
        dueAt: data.notBefore ?? at,
        ...belonging(data),
      };
    }
    case "JobWaiting":
      return { state: JobState.WAITING, reason: `waits for ${data.leaseKey}`, dueAt: null };
    case "JobDeferred":
      return { state: JobState.SCHEDULED, reason: data.reason, dueAt: data.until ?? at };
    case "JobStarted":
      return {
        ...{ state: JobState.RUNNING, attempts: data.attempt, startedAt: at },
        ...{ dueAt: null, reason: "", percent: 0, progress: "" },
      };
    case "JobProgressed":
      return { percent: data.percent, progress: data.message };
    case "JobAttemptFailed":
      // Without a next attempt its steps are being undone; the end follows.
      return data.nextAt
        ? { ...failed(data.failure), state: JobState.SCHEDULED, dueAt: data.nextAt }
        : failed(data.failure);
    case "JobCompleted":
      return { ...ended(JobState.COMPLETED, meta), ...failed(undefined), percent: 100 };
    case "JobSkipped":
      return { ...ended(JobState.SKIPPED, meta), reason: data.reason };
    case "JobFailed":
      return { ...ended(JobState.FAILED, meta), ...failed(data.failure) };
    case "JobCancelled":
      return { ...ended(JobState.CANCELLED, meta), reason: data.reason };
    case "JobParked":
      return {
        ...{ state: JobState.PARKED, reason: data.remedy, dueAt: null },
        ...failed(data.failure),
      };
    case "JobResumed":
      return { state: JobState.QUEUED, reason: data.reason, dueAt: at };
    case "JobRetried":
      return {
        ...{ state: JobState.QUEUED, reason: data.reason, dueAt: at },
        ...{ attempts: 0, endedAt: null, endedSequence: null, generation: data.generation },
      };
    case "JobForgotten":
      return { forgotten: true, endedSequence: meta.position };
    case "JobCancelRequested":
    case "JobCancelAcknowledged":
    case "JobCancelEscalated":
    case "StepCompleted":
    case "StepUndone":
      return {};
    default:
      return name satisfies never;
  }
}

const terminal: readonly JobState[] = [
  JobState.COMPLETED,
  JobState.SKIPPED,
  JobState.FAILED,
  JobState.CANCELLED,
];

/** True when the job has ended; only a retry by a person changes that. */
export const isTerminal = (state: JobState): boolean => terminal.includes(state);

/** The state after these entries; UNSPECIFIED without any. */
export const stateAfter = (
  entries: readonly JournalEntry[],
  from: JobState = JobState.UNSPECIFIED,
): JobState => entries.reduce((state, entry) => changeOf(entry).state ?? state, from);

const sealedFields: Readonly<Record<string, object>> = {
  JobQueued: { input: undefined, inputHash: "" },
  StepCompleted: { result: undefined },
  JobCompleted: { result: undefined },
};

/** An entry's data as canonical JSON, without what is sealed. */
export function shownJson({ name, data }: JournalEntry): string {
  // The codec of the entry's own name.
  return JSON.stringify(
    journalEvents[name].codec.toJSON({ ...data, ...sealedFields[name] } as never),
  );
}
