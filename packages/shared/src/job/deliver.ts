/** What a worker does with one delivered item: the journal decides, the item is only a hint. */
import { hashId } from "../aggregate/id.ts";
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import { newerHistory } from "../event-log/newer.ts";
import { classify, type Failure } from "../failure/failure.ts";
import type { Lease } from "../lease/lease.ts";
import { lookAgainMsOf, turnAfterMs } from "../lease/lines.ts";
import type { Ticket } from "../lease/tickets.ts";
import { inSpan, isTracing } from "../telemetry/tracing.ts";
import { leaseKey, runLeaseKey } from "../topology/subjects.ts";
import { runAttempt } from "./attempt.ts";
import { endCancelled, endFailed, type Next } from "./bad-ends.ts";
import type { AttemptSettings } from "./run-settings.ts";
import { appendDecided } from "./decided-events.ts";
import { attemptMs, type Engine } from "./engine.ts";
import { type Hold, startHold } from "./hold.ts";
import type { AnyJob } from "./job.ts";
import { mustClean, mustUndo } from "./job-state.ts";
import { journalEvents } from "./journal-events.ts";
import { type JournalWriter, openJournal } from "./journal-writer.ts";
import { type Move, moveOf } from "./next-move.ts";
import { decideStarted, infoOf, isFenced, mayRunOn } from "./outcome-entries.ts";
import { inputOf } from "./payload.ts";
import { askTurn, judged, type NotYet, type GiveBack } from "./turns.ts";
import type { Delivery } from "./work-queue.ts";
import { dropClaim, duplicateReason, otherOwner, uniqueOf } from "./unique.ts";
import { endUnstarted } from "./unstarted.ts";
import { measureStart, reporting } from "./work-report.ts";

/** Waits up to this long keep their item; longer ones become a schedule, because a waiting item holds a slot. */
const nakMaxMs = 5_000;
/** How soon a job looks again for a lease that somebody holds, should no wake-up come. */
const checkBackMs = 15_000;
/** How soon another worker should be tried for a job that this build does not know. */
/** Those who wait for the same limit do not all come back at the same moment. */
const spreadMs = 2_000;
/** A free lease is left to those who waited longer for this long. */
const olderFirstMs = 1_000;
const unknownJobMs = 60_000;
const goneSoonMs = 2_000;
const redeliveriesMax = 6;
const startsMax = 10;

type Hands = {
  readonly engine: Engine;
  readonly delivery: Delivery;
  readonly journal: JournalWriter;
  readonly stopping: AbortSignal;
};

/**
 * Another run is at it; should its worker die, this brings the job back. An item that came back by itself most likely
 * belongs to a worker that died: its lease ends any moment.
 */
const lookAgainMs = ({ deliveries }: Delivery): number =>
  deliveries > 1 && deliveries <= redeliveriesMax ? goneSoonMs : checkBackMs;

const done: Next = { item: "done" };
const inMs = ({ engine }: Hands, delayMs: number): Next => ({
  item: "again",
  at: new Date(engine.clock.now().getTime() + delayMs),
});

/**
 * Handles one item to its end. Throws what cannot be helped here (the log away, a lease lost while undoing): then the
 * item is not acknowledged and comes back.
 */
export async function deliver(
  engine: Engine,
  delivery: Delivery,
  stopping: AbortSignal,
): Promise<void> {
  const { tenant, jobId } = delivery;
  const told = delivery.deliveries === 1 ? delivery.queued : undefined;
  const journal = await openJournal(engine, { tenant, jobId }, told);
  const hands: Hands = { engine, delivery, journal, stopping };
  const newer = journal.newer();
  if (newer) {
    const { message } = newerHistory(newer);
    engine.logger.error({ alert: true, jobId, reason: message }, "a job waits for a newer release");
    return finish(hands, inMs(hands, unknownJobMs));
  }
  // First of all: what an earlier run decided reaches the event log, whatever else is true of the job.
  await appendDecided(engine, jobId, journal.state());
  const move = moveOf(journal.state(), engine.clock.now());
  if (move.do === "refuse") return refuse(hands);
  if (move.do === "nothing") {
    await dropClaim(engine, journal, journal.state());
    return finish(hands, done);
  }
  if (move.do === "wait") return finish(hands, { item: "again", at: move.until });
  const job = engine.jobs.get(journal.state().queued?.jobName ?? "");
  if (!job) {
    // A newer build may know it: neither a failure nor a spent try.
    engine.logger.error({ jobId, job: journal.state().queued?.jobName }, "unknown job");
    return finish(hands, inMs(hands, unknownJobMs));
  }
  return traced(hands, job, () => own(hands, job, move));
}

/** A span of this delivery: a child of whoever queued the job, linked to the attempt before. */
function traced(
  { engine, journal }: Hands,
  { name }: AnyJob,
  work: () => Promise<void>,
): Promise<void> {
  if (!isTracing()) return work();
  const { queued, startedTraceparent } = journal.state();
  const { family } = engine;
  const { tenant, jobId } = journal;
  const facts = { "chom.tenant": tenant, "chom.family": family, "chom.job.id": jobId };
  const place = { parent: queued?.traceparent ?? "", links: [startedTraceparent] };
  const about = { name: `run ${name}`, kind: "consumer" as const };
  return inSpan({ ...about, ...place, facts: { ...facts, "chom.job.name": name } }, work);
}

/** Takes the run lease and makes the moves under it. */
async function own(hands: Hands, job: AnyJob, move: Move): Promise<void> {
  const { engine, delivery, journal } = hands;
  const { tenant, jobId } = delivery;
  const owner = `${engine.worker} ${engine.newId()}`;
  const acquired = await engine.leases.acquire(runLeaseKey(tenant, engine.family, jobId), owner);
  if ("heldBy" in acquired) return finish(hands, inMs(hands, lookAgainMs(delivery)));
  const hold = startHold(engine, delivery, acquired.lease);
  let next: Next;
  try {
    // Starting is an append that fails when the journal goes on, so a first delivery need not look again.
    if (move.do !== "work" || delivery.deliveries > 1) await journal.refresh();
    next = await perform(hands, job, hold);
  } catch (error) {
    if (!isFenced(error)) {
      await hold.release();
      throw error;
    }
    engine.logger.warn({ jobId, err: error }, "fenced: a newer attempt owns the job");
    next = done;
  }
  const released = hold.release();
  // An item that comes back must find its lease free; one that is done with need not wait for that.
  if (next.item !== "done") await released;
  await finish(hands, next).finally(() => released);
  if (journal.state().end) await dropClaim(engine, journal, journal.state());
}

/** Nobody queued such a job. A stale replica may only not know it yet, so the leader is asked. */
async function refuse({ engine, delivery, journal }: Hands): Promise<void> {
  if (await engine.log.last("JOURNAL", journal.subject)) return delivery.nak(1_000);
  const { jobId, tenant } = delivery;
  await delivery.quarantine("job-not-found", "no such job was ever queued");
  engine.logger.error({ alert: true, jobId, tenant }, "a work item without a job was quarantined");
}

/** Without its input nothing can be taken back; who asked for the end gets it all the same. */
async function cancelUnopened(
  { engine, journal }: Hands,
  { reason, actor }: { reason: string; actor: string },
): Promise<Next> {
  const { cancel, cancelAcknowledged } = journal.state();
  const { worker } = engine;
  const left = mustUndo(journal.state()) ? "; its input is unreadable: nothing was taken back" : "";
  const openServerIds = [...journal.state().openServers];
  const told = reason + left + mayRunOn(openServerIds);
  const cancelled = journalEvents.JobCancelled({
    ...{ reason: told, actor, events: [], openServerIds },
  });
  const acknowledged = journalEvents.JobCancelAcknowledged({ worker });
  const isFirst = cancel !== undefined && !cancelAcknowledged;
  await journal.request(isFirst ? [acknowledged, cancelled] : [cancelled]);
  const { jobId } = journal;
  engine.logger.error({ alert: true, jobId }, "a job whose input is unreadable was cancelled");
  return done;
}

/** Failed for good, without events of its aggregate: what those would say cannot be sealed any more. */
async function endErased({ engine, journal }: Hands, failure: FailureInfo): Promise<Next> {
  await journal.request([
    journalEvents.JobFailed({
      failure,
      events: [],
      attempts: journal.state().attempts,
      openServerIds: [],
    }),
  ]);
  engine.logger.warn({ jobId: journal.jobId }, "a job of an erased tenant was ended");
  return done;
}

/** Neither a spent try nor a reason to park: the keys come back with who hands them out. */
function keysAway(hands: Hands, failure: Failure): Next {
  hands.engine.logger.warn({ jobId: hands.journal.jobId, err: failure }, "waiting for a key");
  return inMs(hands, failure.wait?.delayMs ?? checkBackMs);
}

async function finish({ engine, delivery, journal }: Hands, next: Next): Promise<void> {
  if (next.item === "done") return delivery.ack();
  const delayMs = next.at.getTime() - engine.clock.now().getTime();
  if (delayMs <= nakMaxMs) return delivery.nak(Math.max(delayMs, 1));
  const { dueAt, sequence } = journal.state();
  // Where queues are fair the admitter brings what the journal says is due later, in its turn.
  if (!engine.admission || dueAt?.getTime() !== next.at.getTime()) {
    const { family, queue, tenant, jobId } = delivery;
    await engine.queue.schedule({ family, queue, tenant, jobId }, next.at, sequence);
  }
  await delivery.ack();
}

/** Moves until one holds: whoever appends in between makes it look again. */
async function perform(hands: Hands, job: AnyJob, hold: Hold): Promise<Next> {
  const { engine, journal } = hands;
  for (let times = 1; ; times += 1) {
    await appendDecided(engine, journal.jobId, journal.state());
    const move = moveOf(journal.state(), engine.clock.now());
    if (move.do === "nothing" || move.do === "refuse") return done;
    if (move.do === "wait") return { item: "again", at: move.until };
    try {
      return await act(hands, { job, hold, move });
    } catch (error) {
      // A request of ours was overtaken, before anything was done.
      if (classify(error).code !== "wrong-sequence" || times >= startsMax) throw error;
    }
  }
}

type Acting = {
  readonly job: AnyJob;
  readonly hold: Hold;
  readonly move: Extract<Move, { do: "work" | "cancel" | "fail" }>;
};

/**
 * Ends a job that lost its unique key before it started: its dispatcher died between journal and claim, or was too slow
 * for its claim to be taken for a dead one's.
 */
async function isDuplicate({ engine, journal }: Hands): Promise<boolean> {
  const state = journal.state();
  const unique = state.everStarted ? undefined : uniqueOf(journal, state);
  const owner = unique && (await otherOwner(engine, unique));
  if (owner === undefined) return false;
  await endUnstarted(engine, journal, { reason: duplicateReason(owner), actor: "system" });
  return true;
}

async function act(hands: Hands, { job, hold, move }: Acting): Promise<Next> {
  const { engine, journal, stopping } = hands;
  const state = journal.state();
  let input: unknown;
  try {
    const { tenant, jobId } = journal;
    await engine.sealer.ready(tenant);
    input = inputOf(engine.sealer, job, { tenant, jobId, input: state.queued?.input });
  } catch (error) {
    const found = classify(error);
    // Nobody can open it ever again, so nobody can act: the job is over.
    if (found.code === "tenant-erased") return endErased(hands, infoOf(found));
    if (found.code === "tenant-key-unavailable") return keysAway(hands, found);
    const failure = infoOf(found);
    if (move.do === "cancel") return cancelUnopened(hands, move);
    const wayOut = mustUndo(state)
      ? "or cancel it, and take back by hand what it did"
      : "or cancel it";
    const remedy = `give the service the key that sealed the input, then resume the job, ${wayOut}`;
    await journal.request([journalEvents.JobParked({ failure, remedy, openServerIds: [] })]);
    return done;
  }
  const openServers = new Set(state.openServers);
  const base = { engine, job, journal, input, startedAt: engine.clock.now(), openServers };
  const ending = (startedSequence: number, fence: string, leaseKeys: readonly string[]) =>
    end(move, { subject: { ...base, startedSequence }, hold, stopping, fence, leaseKeys });
  // Nothing to take back or to end: no effects, so no leases and no fence.
  if (move.do !== "work" && !mustClean(state)) return ending(state.startedSequence, "", []);
  const leaseKeys = keysOf(job, input, journal.tenant);
  const ahead = leaseKeys.find((key) => engine.tickets.mustYield(ticketOf(hands, key)));
  if (ahead !== undefined) return waitFor(hands, { key: ahead, owner: "" });
  const taken = await engine.leases.acquireAll(leaseKeys, journal.jobId);
  if ("heldBy" in taken) return waitFor(hands, taken.heldBy);
  hold.add(taken.leases);
  await leaveQueue(hands, taken.leases);
  let giveBack: GiveBack | undefined;
  if (move.do === "work") {
    const asked = {
      leases: engine.leases,
      job,
      input,
      tenant: journal.tenant,
      jobId: journal.jobId,
    };
    if (await isDuplicate(hands)) return done;
    const charged = (how: GiveBack) => {
      giveBack = how;
    };
    const notYet = await askTurn(engine.turns, { ...asked, hold: hold.add, charged });
    if (notYet) return waitForTurn(hands, notYet);
    await leavePool(hands);
  }
  const attempt = move.do === "work" ? move.attempt : state.attempts;
  const startedSequence = await start(hands, { job, input, attempt, leaseKeys });
  const fence = `${await engine.log.epoch("JOURNAL")}.${startedSequence}`;
  if (move.do !== "work") return ending(startedSequence, fence, leaseKeys);
  const subject = { ...base, startedSequence };
  const settings = { subject, hold, stopping, fence, leaseKeys };
  const judging = { circuit: job.circuit?.(input), jobId: journal.jobId, attempt, giveBack };
  const work = () => runAttempt(settings);
  return reporting(subject, attempt, () =>
    judged(engine.turns, judging, { state: journal.state, work }),
  );
}

function end(move: Acting["move"], settings: AttemptSettings): Promise<Next> {
  if (move.do === "cancel") return endCancelled(settings, move);
  if (move.do === "fail") return endFailed(settings, move.failure);
  throw new TypeError("working is no end");
}

const keysOf = (job: AnyJob, input: unknown, tenant: string): string[] =>
  [...new Set(job.exclusive?.(input) ?? [])].toSorted().map((key) => {
    const dot = key.indexOf(".");
    return leaseKey(tenant, key.slice(0, dot), key.slice(dot + 1));
  });

/** JobStarted: from here on this process owns the job, until a newer one. */
async function start(
  { engine, journal }: Hands,
  begun: { job: AnyJob; input: unknown; attempt: number; leaseKeys: readonly string[] },
): Promise<number> {
  const { queued, generation, everStarted } = journal.state();
  const { job, input, attempt, leaseKeys } = begun;
  const timeoutMs = attemptMs(engine, queued?.timeoutMs);
  measureStart(engine, journal.state());
  const events = everStarted ? [] : await decideStarted({ engine, job, journal, input });
  const sequence = await journal.request([
    journalEvents.JobStarted({
      attempt,
      worker: engine.worker,
      generation,
      deadline: new Date(engine.clock.now().getTime() + timeoutMs),
      leaseKeys: [...leaseKeys],
      events,
    }),
  ]);
  await appendDecided(engine, journal.jobId, journal.state());
  return sequence;
}

/** A job's place in the queue for a lease is that of its acceptance. */
const ticketOf = ({ engine, journal }: Hands, key: string): Ticket => {
  const at = journal.state().queued?.at.getTime() ?? 0;
  const id = `${at.toString(36).padStart(9, "0")}${hashId(journal.jobId)}`;
  return { key, id, owner: journal.jobId, family: engine.family };
};

async function waitFor(
  hands: Hands,
  { key, owner }: { key: string; owner: string },
): Promise<Next> {
  const { engine, journal } = hands;
  if (journal.state().waitingFor !== key) {
    await journal.request([
      journalEvents.JobWaiting({ leaseKey: key, holderJobId: owner, reason: "lease" }),
    ]);
  }
  const ahead = await engine.tickets.take(ticketOf(hands, key));
  // Given back before the ticket was there: then nobody is woken for it. Those who are older go first.
  const freeMs = ahead === 0 ? 1 : olderFirstMs;
  return inMs(hands, (await engine.leases.held(key)) ? lookAgainMsOf(ahead) : freeMs);
}

/**
 * Until the time that a limit or a circuit names, a little spread, for a limit one after another; for a slot until one is
 * given back.
 */
async function waitForTurn(hands: Hands, { reason, key, at, everyMs }: NotYet): Promise<Next> {
  const { engine, journal } = hands;
  if (journal.state().waitingFor !== key) {
    await journal.request([journalEvents.JobWaiting({ leaseKey: key, holderJobId: "", reason })]);
  }
  if (at && everyMs !== undefined) {
    const ticket = ticketOf(hands, limitLine(key));
    const awayMs = at.getTime() - engine.clock.now().getTime() + turnAfterMs(Infinity, everyMs);
    const ahead = await engine.tickets.take(ticket, Math.max(0, awayMs));
    const turnMs = turnAfterMs(ahead, everyMs) + engine.random() * Math.min(spreadMs, everyMs);
    return { item: "again", at: new Date(at.getTime() + turnMs) };
  }
  if (at) return { item: "again", at: new Date(at.getTime() + engine.random() * spreadMs) };
  return inMs(hands, lookAgainMsOf(await engine.tickets.take(ticketOf(hands, key))));
}

/** Limits are shared by all tenants; their names and keys are written with a space between. */
const limitLine = (key: string): string => leaseKey("platform", "limit", hashId(key));

/** A job that has its slot, or was charged to its limit, no longer waits for it. */
async function leavePool(hands: Hands): Promise<void> {
  const key = hands.journal.state().waitingFor;
  const { tickets } = hands.engine;
  if (key.includes(".slot-")) await tickets.drop(ticketOf(hands, key));
  if (key.includes(" ")) await tickets.drop(ticketOf(hands, limitLine(key)));
}

async function leaveQueue(hands: Hands, leases: readonly Lease[]): Promise<void> {
  if (hands.journal.state().waitingFor === "") return;
  for (const { key } of leases) await hands.engine.tickets.drop(ticketOf(hands, key));
}
