/** Everything a journal tells of its job, folded for people: attempts, steps, waits, and how it was cancelled. Pure. */
import type {
  GetJobDetailResponse,
  JobAttempt,
  JobCancel,
  JobStep,
  JobWait,
} from "@chom/proto/chom/jobs/v1/jobs";
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import type { JournalEntry } from "@chom/shared/job/journal";

export type Detail = Omit<GetJobDetailResponse, "job" | "inputJson" | "inputProblem" | "archived">;

type Telling = {
  readonly attempts: JobAttempt[];
  readonly steps: JobStep[];
  readonly waits: JobWait[];
  generation: number;
  cancel: JobCancel | undefined;
};

const noCancel = {
  ...{ actor: "", reason: "", requestedAt: undefined, acknowledgedAt: undefined },
  ...{ acknowledgedBy: "", escalatedAt: undefined, escalation: "", endedAt: undefined },
};

function beginWait(telling: Telling, since: Date, wait: Partial<JobWait> & { kind: string }): void {
  endWait(telling, since);
  telling.waits.push({
    reason: "",
    holderJobId: "",
    until: undefined,
    durationMs: 0n,
    ...wait,
    since,
  });
}

function endWait({ waits }: Telling, at: Date): void {
  const open = waits.at(-1);
  if (!open?.since || open.until) return;
  open.until = at;
  open.durationMs = BigInt(Math.max(0, at.getTime() - open.since.getTime()));
}

type AttemptEnd = { outcome: string; at: Date; failure?: FailureInfo | undefined; nextAt?: Date };

function endAttempt({ attempts }: Telling, { outcome, at, failure, nextAt }: AttemptEnd): void {
  const open = attempts.at(-1);
  if (open?.outcome !== "running") return;
  Object.assign(open, { outcome, endedAt: at, failure, nextAt });
}

function started(telling: Telling, entry: Extract<JournalEntry, { name: "JobStarted" }>): void {
  const { attempts, generation } = telling;
  const { time: startedAt, position } = entry.meta;
  endWait(telling, startedAt);
  const open = attempts.at(-1);
  if (open?.outcome === "running") open.outcome = "lost";
  const { attempt, worker } = entry.data;
  attempts.push({
    ...{ generation, attempt, worker, startedAt, fence: BigInt(position), outcome: "running" },
    ...{ endedAt: undefined, failure: undefined, nextAt: undefined },
  });
}

function stepped(telling: Telling, entry: Extract<JournalEntry, { name: "StepCompleted" }>): void {
  const { step: name, durationMs, serverId, exitCode, outputTail } = entry.data;
  const { time: finishedAt } = entry.meta;
  const startedAt = new Date(finishedAt.getTime() - Number(durationMs));
  const attempt = telling.attempts.at(-1)?.attempt ?? 0;
  telling.steps.push({
    ...{ name, attempt, generation: telling.generation, startedAt, finishedAt, durationMs },
    ...{ serverId, exitCode, outputTail, undoneAt: undefined, undoFailure: undefined },
  });
}

/** What an end says of the attempt under way, and of the request to cancel. */
function ended(telling: Telling, entry: JournalEntry, outcome: string): void {
  const { time: at } = entry.meta;
  endWait(telling, at);
  const failure = entry.name === "JobFailed" ? entry.data.failure : undefined;
  endAttempt(telling, { outcome, at, failure });
  if (entry.name === "JobCancelled") {
    const { actor, reason } = entry.data;
    telling.cancel = { ...noCancel, actor, reason, ...telling.cancel, endedAt: at };
  } else if (telling.cancel) telling.cancel.endedAt = at;
}

/** Entries of cancelling; the worker's own words are younger than the rest. */
function cancelling(telling: Telling, entry: JournalEntry): void {
  const { time: at } = entry.meta;
  const data = entry.data as { actor?: string; reason?: string; worker?: string };
  const name: string = entry.name;
  const cancel = telling.cancel ?? { ...noCancel };
  if (name === "JobCancelRequested") {
    const { actor = "", reason = "" } = data;
    telling.cancel ??= { ...noCancel, actor, reason, requestedAt: at };
  } else if (name === "JobCancelAcknowledged") {
    telling.cancel = { ...cancel, acknowledgedAt: at, acknowledgedBy: data.worker ?? "" };
  } else if (name === "JobCancelEscalated") {
    telling.cancel = { ...cancel, escalatedAt: at, escalation: data.reason ?? "" };
  }
}

function waited(telling: Telling, entry: JournalEntry): void {
  const { time: at } = entry.meta;
  if (entry.name === "JobQueued") {
    const later = entry.data.notBefore !== undefined && entry.data.notBefore > at;
    beginWait(telling, at, { kind: later ? "deferred" : "queue" });
  } else if (entry.name === "JobWaiting") {
    const { leaseKey: reason, holderJobId } = entry.data;
    const { reason: kind = "lease" } = entry.data as { reason?: string };
    beginWait(telling, at, { kind: kind === "" ? "lease" : kind, reason, holderJobId });
  } else if (entry.name === "JobDeferred") {
    endAttempt(telling, { outcome: "deferred", at });
    beginWait(telling, at, { kind: "deferred", reason: entry.data.reason });
  } else if (entry.name === "JobAttemptFailed") {
    const { failure, nextAt } = entry.data;
    endAttempt(telling, { outcome: "failed", at, failure, ...(nextAt ? { nextAt } : {}) });
    if (nextAt) beginWait(telling, at, { kind: "backoff" });
  } else if (entry.name === "JobParked") {
    const { failure, remedy } = entry.data;
    endAttempt(telling, { outcome: "parked", at, failure });
    beginWait(telling, at, { kind: "parked", reason: remedy });
  } else if (entry.name === "JobResumed") beginWait(telling, at, { kind: "queue" });
}

function tell(telling: Telling, entry: JournalEntry): void {
  switch (entry.name) {
    case "JobStarted":
      started(telling, entry);
      return;
    case "StepCompleted":
      stepped(telling, entry);
      return;
    case "StepUndone": {
      const { step, failure } = entry.data;
      const done = telling.steps.findLast(({ name, undoneAt }) => name === step && !undoneAt);
      if (done) Object.assign(done, { undoneAt: entry.meta.time, undoFailure: failure });
      return;
    }
    case "JobCompleted":
      ended(telling, entry, "completed");
      return;
    case "JobSkipped":
      ended(telling, entry, "skipped");
      return;
    case "JobFailed":
      ended(telling, entry, "failed");
      return;
    case "JobCancelled":
      ended(telling, entry, "cancelled");
      return;
    case "JobRetried":
      telling.generation = entry.data.generation;
      telling.cancel = undefined;
      beginWait(telling, entry.meta.time, { kind: "queue" });
      return;
    default:
      waited(telling, entry);
      cancelling(telling, entry);
  }
}

/** The detail of a whole journal. Total: entries in any order give some detail. */
export function detailOf(entries: readonly JournalEntry[]): Detail {
  const telling: Telling = { attempts: [], steps: [], waits: [], generation: 1, cancel: undefined };
  for (const entry of entries) tell(telling, entry);
  const queued = entries.find((entry) => entry.name === "JobQueued");
  const { attempts, steps, waits, cancel } = telling;
  return {
    ...{ attempts, steps, waits, cancel, entriesCount: entries.length },
    timeoutMs: queued?.data.timeoutMs ?? 0n,
    backoffMs: queued?.data.backoffMs ?? [],
    notBefore: queued?.data.notBefore,
    expiresAt: queued?.data.expiresAt,
    causationId: queued?.meta.causationId ?? "",
    correlationId: queued?.meta.correlationId ?? "",
  };
}
