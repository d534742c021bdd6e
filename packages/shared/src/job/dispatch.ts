/** Accepting a job: journaled first, then queued; both are stored when it answers. */
import { isId } from "../aggregate/id.ts";
import type { Entry } from "../event-log/event-log.ts";
import { classify, conflict, type FieldViolation, invalid, transient } from "../failure/failure.ts";
import type { DispatchCommand } from "../service/app.ts";
import { inSpan } from "../telemetry/tracing.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob, DispatchOptions } from "./job.ts";
import { openJournal } from "./journal-writer.ts";
import { journalEvents } from "./journal-events.ts";
import type { JobState } from "./job-state.ts";
import { canonicalInput, sealFor } from "./payload.ts";
import { claim, duplicateReason, otherOwner, type UniqueWish } from "./unique.ts";
import { endUnstarted } from "./unstarted.ts";
import type { WorkItem } from "./work-queue.ts";

export type Dispatch = (
  command: DispatchCommand,
) => Promise<{ jobId: string; position: number; created: boolean }>;

const dayMs = 86_400_000;
const queues = ["high", "default", "low"];

type Chosen = Required<
  Pick<
    DispatchOptions,
    | "queue"
    | "tries"
    | "timeoutMs"
    | "backoffMs"
    | "backoffKind"
    | "backoffMaxMs"
    | "maxExceptions"
    | "uniqueKey"
    | "uniqueUntilStart"
  >
>;

function chosenOf(job: AnyJob, input: unknown, options: DispatchOptions): Chosen {
  const { timeoutMs } = job;
  return {
    queue: options.queue ?? job.queue,
    tries: options.tries ?? job.tries,
    timeoutMs:
      options.timeoutMs ?? (typeof timeoutMs === "function" ? timeoutMs(input) : timeoutMs),
    backoffMs: options.backoffMs ?? job.backoffMs,
    backoffKind: options.backoffKind ?? job.backoffKind ?? "list",
    backoffMaxMs: options.backoffMaxMs ?? job.backoffMaxMs ?? 0,
    maxExceptions: options.maxExceptions ?? job.maxExceptions ?? 0,
    uniqueKey: options.uniqueKey ?? job.unique?.(input) ?? "",
    uniqueUntilStart: options.uniqueUntilStart ?? job.uniqueUntilStart ?? false,
  };
}

const between = (value: number, min: number, max: number) =>
  Number.isInteger(value) && value >= min && value <= max;

const isTime = (time: Date | undefined) => time === undefined || !Number.isNaN(time.getTime());

function violationsOf(command: DispatchCommand, chosen: Chosen): FieldViolation[] {
  const { jobId, tenant, options = {} } = command;
  const rules: readonly (readonly [boolean, string, string])[] = [
    [isId(jobId), "request_id", "must be 1 to 64 of a-z, 0-9 and dash"],
    [isId(tenant) && tenant.length <= 32, "tenant", "must be 1 to 32 of a-z, 0-9 and dash"],
    [queues.includes(chosen.queue), "queue", "must be high, default or low"],
    [between(chosen.tries, 1, 100), "tries", "must be 1 to 100"],
    [between(chosen.timeoutMs, 1_000, dayMs), "timeout_ms", "must be 1 s to 24 h"],
    [between(chosen.backoffMs.length, 1, 20), "backoff_ms", "must have 1 to 20 delays"],
    [
      chosen.backoffMs.every((delayMs) => between(delayMs, 0, 7 * dayMs)),
      "backoff_ms",
      "must be 0 to 7 days each",
    ],
    [
      ["list", "exponential"].includes(chosen.backoffKind),
      "backoff_kind",
      "must be list or exponential",
    ],
    [between(chosen.backoffMaxMs, 0, 7 * dayMs), "backoff_max_ms", "must be 0 to 7 days"],
    [between(chosen.maxExceptions, 0, 1_000), "max_exceptions", "must be 0 to 1000"],
    [chosen.uniqueKey.length <= 200, "unique_key", "must have at most 200 characters"],
    [isTime(options.notBefore), "not_before", "must be a time"],
    [isTime(options.expiresAt), "expires_at", "must be a time"],
    [(options.tags ?? []).length <= 20, "tags", "must be at most 20"],
    [
      (options.tags ?? []).every((tag) => tag.length <= 64),
      "tags",
      "must have at most 64 characters",
    ],
    [(options.reason ?? "").length <= 500, "reason", "must have at most 500 characters"],
  ];
  return rules.flatMap(([holds, field, description]) => (holds ? [] : [{ field, description }]));
}

function queuedOf(engine: Engine, command: DispatchCommand, chosen: Chosen) {
  const { job, tenant, jobId, input, options = {} } = command;
  const bytes = canonicalInput(job, input, engine.payloadMaxBytes);
  return journalEvents.JobQueued({
    jobName: job.name,
    queue: chosen.queue,
    siteId: job.site?.(input) ?? "",
    serverId: job.server?.(input) ?? "",
    aggregateId: job.of(input),
    input: sealFor(engine.sealer, { tenant, jobId, kind: job.name }, bytes),
    inputHash: engine.sealer.fingerprint(
      tenant,
      Buffer.concat([Buffer.from(`${job.name}\n`), bytes]),
    ),
    tries: chosen.tries,
    timeoutMs: BigInt(chosen.timeoutMs),
    backoffMs: chosen.backoffMs.map(BigInt),
    notBefore: options.notBefore,
    expiresAt: options.expiresAt,
    actor: command.actor,
    reason: options.reason ?? "",
    tags: [...(options.tags ?? [])],
    schemaVersion: 1,
    uniqueKey: chosen.uniqueKey,
    uniqueUntilStart: chosen.uniqueUntilStart,
    maxExceptions: chosen.maxExceptions,
    backoffKind: chosen.backoffKind,
    backoffMaxMs: BigInt(chosen.backoffMaxMs),
    chainId: options.chainId ?? "",
    batchId: options.batchId ?? "",
    scheduleId: options.scheduleId ?? "",
  });
}

/** The work item that stands for a queued job. */
export const itemOf = (
  family: string,
  { tenant, jobId }: { tenant: string; jobId: string },
  queued: NonNullable<JobState["queued"]>,
): WorkItem => ({
  family,
  // Checked when it was dispatched.
  queue: queued.queue as WorkItem["queue"],
  tenant,
  jobId,
});

async function putInQueue(
  engine: Engine,
  place: { tenant: string; jobId: string },
  state: JobState,
  first: Entry | undefined,
) {
  const { queued, end, parked, everStarted } = state;
  // Once it has started its worker, its schedule or the sweeper looks after it.
  if (!queued || end || parked || everStarted) return;
  const item = itemOf(engine.family, place, queued);
  const { notBefore, sequence } = queued;
  if (notBefore && notBefore > engine.clock.now()) {
    // Where queues are fair the admitter brings it, in its turn.
    if (!engine.admission) await engine.queue.schedule(item, notBefore, sequence);
  } else {
    const full = first ? { ...item, queued: first } : item;
    const publish = () => engine.queue.publish(full, sequence);
    // Without room the job waits in its journal; the admitter puts it in.
    await (engine.admission?.offer(item, publish) ?? publish());
  }
}

async function pendingInstead(engine: Engine, tenant: string, jobId: string) {
  const { state } = await openJournal(engine, { tenant, jobId });
  return { jobId, position: state().queued?.sequence ?? 0, created: false };
}

/** The pending job that has the unique key already. A job that was journaled before needs no claim. */
async function claimed(engine: Engine, wish: UniqueWish) {
  const own = await openJournal(engine, wish);
  if (own.state().queued) return undefined;
  const owner = await claim(engine, wish);
  return owner === undefined ? undefined : pendingInstead(engine, wish.tenant, owner);
}

/**
 * Makes `App.dispatch`. While a job with the unique key is pending it answers with that one's id, and `created: false`. Failures: `invalid` with the fields, or "payload-too-large"; `conflict` "already-exists" when
 * the id belongs to a job with another input; `transient` "log-unavailable", after which the caller may repeat it.
 */
export const createDispatch =
  (engine: Engine): Dispatch =>
  (command) => {
    const { job, tenant, jobId } = command;
    const facts = { "chom.tenant": tenant, "chom.job.id": jobId, "chom.job.name": job.name };
    const name = `queue ${job.name}`;
    // The journal's first entry carries this span's context: all attempts are its children.
    return inSpan({ name, kind: "producer", facts }, () => dispatch(engine, command));
  };

async function dispatch(engine: Engine, command: DispatchCommand): ReturnType<Dispatch> {
  const { job, tenant, jobId, options = {} } = command;
  const chosen = chosenOf(job, command.input, options);
  const violations = violationsOf(command, chosen);
  if (violations.length > 0) throw invalid(violations);
  await engine.sealer.ready(tenant);
  const event = queuedOf(engine, command, chosen);
  const unique = { tenant, jobId, jobName: job.name, uniqueKey: chosen.uniqueKey };
  const before = chosen.uniqueKey === "" ? undefined : await claimed(engine, unique);
  if (before) return before;
  // Most ids are new: appending finds out, and reads when it is not.
  const journal = await openJournal(engine, { tenant, jobId }, "nothing");
  let created = false;
  if (!journal.state().queued) {
    try {
      await journal.request([event], {
        actor: command.actor,
        correlationId: command.correlationId ?? command.causationId ?? jobId,
        causationId: command.causationId ?? "",
      });
      created = true;
    } catch (error) {
      if (classify(error).code !== "wrong-sequence") throw error;
    }
  }
  const state = journal.state();
  if (!state.queued)
    throw transient("log-unavailable", `the journal of ${jobId} cannot be read yet`);
  if (state.queued.inputHash !== event.data.inputHash) {
    throw conflict("already-exists", `job ${jobId} exists with another input`);
  }
  const faster = created && unique.uniqueKey !== "" ? await otherOwner(engine, unique) : undefined;
  if (faster) {
    await endUnstarted(engine, journal, { reason: duplicateReason(faster), actor: "system" });
    return pendingInstead(engine, tenant, faster);
  }
  await putInQueue(engine, { tenant, jobId }, state, journal.first());
  return { jobId, position: state.queued.sequence, created };
}
