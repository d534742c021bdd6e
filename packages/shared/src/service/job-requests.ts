/**
 * Jobs asked for by name, for chains, batches, schedules and `DispatchJob`: the family answers each with the method
 * that starts such a job, so that a request by event is checked exactly like a call.
 */
import { type JobOptions, type JobRefused, JobRequested } from "@chom/proto/chom/jobs/v1/control";
import { jobRequests } from "@chom/proto/job-requests";
import type { EventMeta } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import type { EventLog } from "../event-log/event-log.ts";
import { classify, type Failure, failureOf, rejected } from "../failure/failure.ts";
import type { DispatchOptions } from "../job/job.ts";
import { jobRefusal } from "../job/job-refusal.ts";
import { openFor } from "../job/payload.ts";
import { command, type Reactor, reactor } from "../reactor/reactor.ts";
import { requestBytes } from "../rpc/request-json.ts";
import { type Caller, plainHandler, type RpcService } from "../rpc/unary.ts";
import { scrub } from "../secrets/scrub.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { eventSubject, journalSubject } from "../topology/subjects.ts";
import { asRequested } from "./requested.ts";

const acceptWithinMs = 20_000;
/** Requests at a time in one process: each mostly waits for the broker and Postgres. */
const atOnce = 32;

type Parts = {
  readonly family: string;
  readonly rpc: readonly RpcService[];
  readonly sealer: Sealer;
  readonly log: Pick<EventLog, "last">;
  readonly logger: Logger;
  /** How long a request that fails for passing reasons is tried again. */
  readonly patienceMs: number;
};

/**
 * The reactor `<family>-job-requests`. Every request is answered: by a journal, or by JobRefused. What may pass is tried
 * again until the patience or the request's own expiry is over, and is then refused with "not-accepted-in-time".
 */
export const answerJobRequests = (parts: Parts): Reactor =>
  reactor({
    name: "job-requests",
    aggregate: "job-request",
    from: eventTypes({ JobRequested }),
    on: {
      async JobRequested(wish, meta) {
        if (wish.family !== parts.family || (await isRefused(parts, wish, meta))) return [];
        try {
          await accept(parts, wish, meta);
          return [];
        } catch (error) {
          const failure = classify(error);
          if (failure.kind === "transient" || failure.kind === "unknown") throw error;
          return refusal(wish, meta, failure);
        }
      },
    },
    patience: {
      atOnce,
      maxMs: parts.patienceMs,
      endsAt: ({ options }) => options?.expiresAt,
      giveUp: (failure) => (wish, meta) => giveUp(parts, failure, { wish, meta }),
    },
  });

/** A refusal stands: whoever was told it has gone on. A request comes again when its acknowledgement was lost. */
const isRefused = async ({ log }: Parts, { jobId }: JobRequested, { tenant }: EventMeta) =>
  (await log.last("EVENTS", eventSubject(tenant, jobRefusal.name, jobId))) !== undefined;

const refusal = (wish: JobRequested, { tenant }: EventMeta, failure: Failure) =>
  command(jobRefusal, tenant, wish.jobId, "refuse", refusalOf(wish, failure));

async function giveUp(
  { family, log, logger }: Parts,
  { code, message }: Failure,
  { wish, meta }: { wish: JobRequested; meta: EventMeta },
) {
  const { jobId, jobName } = wish;
  // A try that failed may have got as far as the journal: then the job is accepted, and the sweeper queues it.
  if (
    wish.family !== family ||
    (await log.last("JOURNAL", journalSubject(meta.tenant, family, jobId)))
  ) {
    return [];
  }
  const about = { alert: "request-not-accepted", tenant: meta.tenant, jobId, job: jobName, code };
  logger.error(about, "a job that was asked for could not be accepted in time and is refused");
  const why = `its family tried until its time was over; the last try failed with ${code}: ${message}`;
  return refusal(wish, meta, failureOf("not-accepted-in-time", why));
}

async function accept({ rpc, sealer }: Parts, wish: JobRequested, meta: EventMeta): Promise<void> {
  const { jobId, jobName, actor, reason } = wish;
  const known = jobRequests[jobName];
  const call = known && methodOf(rpc, known.path);
  if (!known || !call) throw rejected("unknown-job", `this service has no job "${jobName}"`);
  const { tenant, eventId, correlationId } = meta;
  await sealer.ready(tenant);
  const plain = openFor(sealer, { tenant, jobId, kind: `request:${jobName}` }, wish.request);
  const bytes = requestBytes(known.type, plain.toString(), jobId);
  const signal = AbortSignal.timeout(acceptWithinMs);
  const caller: Caller = {
    ...{ tenant, actor, permissions: [known.permission], service: undefined, traceparent: "" },
    ...{ signal, deadline: new Date(Date.now() + acceptWithinMs) },
  };
  const options = optionsOf(wish.options, wish);
  const requested = { jobId, options, causationId: eventId, correlationId };
  await asRequested(
    reason === "" ? requested : { ...requested, options: { ...options, reason } },
    () => call(bytes, caller),
  );
}

/** The plain handler behind a method, fed with the request's wire form. */
function methodOf(services: readonly RpcService[], path: string) {
  for (const { definition, implementation } of services) {
    for (const [name, method] of Object.entries(definition)) {
      const handler = method.path === path ? implementation[name] : undefined;
      // Methods that start jobs are unary.
      const answer = handler && plainHandler(handler as Parameters<typeof plainHandler>[0]);
      if (answer) {
        return (bytes: Buffer, caller: Caller) => answer(method.requestDeserialize(bytes), caller);
      }
    }
  }
  return undefined;
}

/** Only what was asked for: the rest is the job's own. */
export function optionsOf(
  options: JobOptions | undefined,
  { chainId, batchId, scheduleId }: Pick<JobRequested, "chainId" | "batchId" | "scheduleId">,
): DispatchOptions {
  const asked = options ?? ({} as Partial<JobOptions>);
  return {
    // Dispatch checks these words and bounds.
    ...(asked.queue ? { queue: asked.queue as NonNullable<DispatchOptions["queue"]> } : {}),
    ...(asked.tries ? { tries: asked.tries } : {}),
    ...(asked.timeoutMs ? { timeoutMs: Number(asked.timeoutMs) } : {}),
    ...(asked.backoffMs?.length ? { backoffMs: asked.backoffMs.map(Number) } : {}),
    ...(asked.backoffKind
      ? { backoffKind: asked.backoffKind as NonNullable<DispatchOptions["backoffKind"]> }
      : {}),
    ...(asked.backoffMaxMs ? { backoffMaxMs: Number(asked.backoffMaxMs) } : {}),
    ...(asked.maxExceptions ? { maxExceptions: asked.maxExceptions } : {}),
    ...(asked.notBefore ? { notBefore: asked.notBefore } : {}),
    ...(asked.expiresAt ? { expiresAt: asked.expiresAt } : {}),
    ...(asked.tags?.length ? { tags: asked.tags } : {}),
    ...(asked.uniqueKey ? { uniqueKey: asked.uniqueKey } : {}),
    ...(asked.uniqueUntilStart ? { uniqueUntilStart: true } : {}),
    ...(chainId ? { chainId } : {}),
    ...(batchId ? { batchId } : {}),
    ...(scheduleId ? { scheduleId } : {}),
  };
}

function refusalOf(wish: JobRequested, { kind, code, message, violations }: Failure): JobRefused {
  const { jobId, family, jobName, chainId, batchId, scheduleId } = wish;
  return {
    ...{ jobId, family, jobName, chainId, batchId, scheduleId },
    failure: { kind, code, message: scrub(message), step: "" },
    fields: violations.map(({ field, description }) => ({
      field,
      description: scrub(description),
    })),
  };
}
