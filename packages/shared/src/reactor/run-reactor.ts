/** Runs one reactor over its durable consumer: one event at a time, in order, over all replicas, unless it is patient. */
import { setTimeout as sleep } from "node:timers/promises";
import type { StoredEvent } from "../aggregate/aggregate.ts";
import { decodeEntry, holdPersonal, metaOf } from "../event-log/codec.ts";
import { entryOf, envelopeHeaders, escaped } from "../event-log/envelope.ts";
import type { Entry } from "../event-log/event-log.ts";
import { checkProducer } from "../event-log/producer.ts";
import { type Nats, publish, valueOf } from "../event-log/nats.ts";
import { type Pulled, pull } from "../event-log/pull.ts";
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import type { App } from "../service/app.ts";
import type { Logger } from "../telemetry/logger.ts";
import { count, timed } from "../telemetry/metrics.ts";
import { inSpan } from "../telemetry/tracing.ts";
import { reactorConsumer } from "../topology/consumers.ts";
import { quarantineSubject } from "../topology/subjects.ts";
import { type Wanted, wantedBy } from "./react.ts";
import { triesWithin, waitAfterMs } from "./patience.ts";
import type { Patience, Reactor } from "./reactor.ts";
import { scrub } from "../secrets/scrub.ts";

export type ReactorHost = {
  readonly service: string;
  readonly nats: Nats;
  readonly logger: Logger;
  /** What is wanted goes there; both ways bear being repeated with the same ids. */
  readonly app: Pick<App, "now" | "sealer" | "dispatch" | "handle">;
  /** Waits between the tries at one event; there is one try more than waits. Default 5 tries in 22.5 s. */
  readonly retryMs?: readonly number[];
  /** Dispatch jobs also for causes older than 30 days, whose journals may have been pruned. Default false. */
  readonly backfill?: boolean;
};

export type RunningReactor = {
  readonly name: string;
  /** Ends after the event under way; one that is between two tries is given back. */
  stop(): Promise<void>;
};

const retryMsDefault = [500, 2_000, 5_000, 15_000];
/** What must not count as a failure of the event: everything waits until it is over. */
const passing: ReadonlySet<string> = new Set(["log-unavailable", "tenant-key-unavailable"]);
const pullMs = 5_000;
/** Within the consumer's ack_wait of 10 s. */
const workingMs = 3_000;
/** An event delivered this often, without ever having failed, takes its process down with it. */
const deliveriesMax = 10;
/** Trying again makes these no better. */
const hopeless = new Set(["worker-lost", "foreign-producer"]);
const causeAgeMaxMs = 30 * 86_400_000;

/**
 * Starts it. Both the broker and the process may die at any time: an event is acknowledged after its reactions are
 * stored, and their ids come from the event. An event that fails 5 times is put into QUARANTINE with an alert line,
 * and the next one follows; while the log itself is away nothing counts as a failure.
 */
export function startReactor(reactor: Reactor, host: ReactorHost): RunningReactor {
  const { service, nats, logger } = host;
  const inHand = new Set<Promise<void>>();
  const atOnce = reactor.patience?.atOnce ?? 1;
  const consumer = reactorConsumer(service, reactor.name);
  const stopping = new AbortController();
  const { signal } = stopping;
  // So that the first one is a change that can be seen.
  count("chom_quarantined_total", { reactor: `${service}-${reactor.name}` }, 0);
  const done = (async () => {
    while (!signal.aborted) {
      try {
        const free = atOnce - inHand.size;
        for (const message of await pullSome(nats, { consumer, free, signal })) {
          const settling = { reactor, host, message, signal };
          const settled = withHeartbeat(message, () =>
            reactor.patience ? settlePatiently(settling, reactor.patience) : settle(settling),
          ).finally(() => inHand.delete(settled));
          inHand.add(settled);
        }
        if (inHand.size >= atOnce) await Promise.race(inHand);
      } catch (error) {
        if (signal.aborted) break;
        logger.warn({ err: error, reactor: consumer }, "the reactor cannot pull, trying again");
        await pause(1_000, signal);
      }
    }
    await Promise.allSettled(inHand);
  })();
  return {
    name: reactor.name,
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** What is there, or the next that comes: asking for many would wait until so many are there. */
async function pullSome(
  nats: Nats,
  { consumer, free, signal }: { consumer: string; free: number; signal: AbortSignal },
): Promise<Pulled[]> {
  const from = { stream: "EVENTS", consumer, signal };
  const there = free > 1 ? await pull(nats, { ...from, batch: free, waitMs: 0 }) : [];
  return there.length > 0 ? there : pull(nats, { ...from, batch: 1, waitMs: pullMs });
}

type Settling = {
  readonly reactor: Reactor;
  readonly host: ReactorHost;
  readonly message: Pulled;
  readonly signal: AbortSignal;
};

async function withHeartbeat(message: Pulled, work: () => Promise<void>): Promise<void> {
  const beat = setInterval(() => message.working(), workingMs);
  try {
    await work();
  } finally {
    clearInterval(beat);
  }
}

/** Tries until the event is done with, quarantined, or given back because of a stop. */
async function settle({ reactor, host, message, signal }: Settling): Promise<void> {
  const { retryMs = retryMsDefault, logger } = host;
  let failures = 0;
  for (;;) {
    try {
      if (message.deliveries > deliveriesMax) {
        throw failureOf("worker-lost", `delivered ${message.deliveries} times and never finished`);
      }
      await react(reactor, host, message);
      return await acknowledge(message, host);
    } catch (error) {
      const failure = classify(error);
      const away = passing.has(failure.code);
      if (!away) failures += 1;
      if (failures > retryMs.length || hopeless.has(failure.code)) {
        return quarantine({ reactor, host, message, signal }, failure);
      }
      const about = { err: error, reactor: reactor.name, sequence: message.sequence, failures };
      logger.warn(about, "a reaction failed, trying again");
      await pause(away ? 1_000 : (retryMs[failures - 1] ?? 0), signal);
      if (signal.aborted) return message.nak();
    }
  }
}

/**
 * One try; whatever fails comes back after a wait, which the broker keeps, so that neither this process's end nor others
 * behind it lose anything. An event that takes its process down with it is counted by its deliveries.
 */
async function settlePatiently(
  settling: Settling,
  // biome-ignore lint/suspicious/noExplicitAny: erased in `Reactor`.
  patience: Patience<any>,
): Promise<void> {
  const { reactor, host, message, signal } = settling;
  const { deliveries } = message;
  const tries = triesWithin(patience.maxMs);
  const event = await decoded(settling);
  if (event === "quarantined") return;
  const isLast = () =>
    deliveries >= tries || (event && (patience.endsAt?.(event.data) ?? Infinity) <= host.app.now());
  let given = failureOf("worker-lost", `tried ${deliveries - 1} times and never finished`);
  let isOver = deliveries > tries;
  while (!signal.aborted) {
    try {
      const instead = isOver ? patience.giveUp(given) : undefined;
      if (event) {
        await traced(settling, event, async () =>
          carryOut(reactor, host, event, await wantedBy(reactor, event, instead)),
        );
      }
      return await acknowledge(message, host);
    } catch (error) {
      const failure = classify(error);
      const about = { err: error, reactor: reactor.name, sequence: message.sequence, deliveries };
      host.logger.warn(about, "a reaction failed, trying again");
      if (passing.has(failure.code)) await pause(1_000, signal);
      else if (isOver || !isLast()) return message.nak(waitAfterMs(deliveries));
      else [given, isOver] = [failure, true];
    }
  }
  message.nak();
}

/** The event, undefined when the reactor knows none of its name; what cannot be read has nobody to be told to. */
async function decoded(settling: Settling): Promise<StoredEvent | undefined | "quarantined"> {
  const { reactor, host, message, signal } = settling;
  for (;;) {
    try {
      return await knownEvent(reactor, host, entryOf(message));
    } catch (error) {
      const failure = classify(error);
      if (!passing.has(failure.code)) {
        await quarantine(settling, failure);
        return "quarantined";
      }
      await pause(1_000, signal);
      if (signal.aborted) throw failure;
    }
  }
}

/**
 * Waited for, since an acknowledgement lost with its broker would hold up the next event. But only once: a broker that
 * forgot the delivery never answers, and delivers the event again to whoever pulls.
 */
async function acknowledge(message: Pulled, { logger }: ReactorHost): Promise<void> {
  try {
    await message.ackSure();
  } catch (error) {
    logger.warn({ err: error, sequence: message.sequence }, "an acknowledgement was not confirmed");
  }
}

async function react(reactor: Reactor, host: ReactorHost, message: Pulled): Promise<void> {
  const event = await knownEvent(reactor, host, entryOf(message));
  if (!event) return;
  await traced({ reactor, host, message }, event, async () =>
    carryOut(reactor, host, event, await wantedBy(reactor, event)),
  );
}

/** A reaction as a span under what decided the event, and as a measurement of how late it came. */
async function traced(
  { reactor, host, message }: Pick<Settling, "reactor" | "host" | "message">,
  event: StoredEvent,
  work: () => Promise<void>,
): Promise<void> {
  if (!Object.hasOwn(reactor.on, event.name)) return;
  const { traceparent: parent, type } = entryOf(message);
  const facts = { "chom.reactor": reactor.name, "chom.event.type": type };
  await inSpan({ name: `react ${reactor.name}`, kind: "consumer", parent, facts }, work);
  const lagMs = host.app.now().getTime() - event.meta.time.getTime();
  timed("chom_reactor_lag_seconds", { reactor: `${host.service}-${reactor.name}` }, lagMs);
}

/** The event in an entry whose source may write it; undefined when the reactor does not know its type. */
async function knownEvent(
  reactor: Reactor,
  host: ReactorHost,
  entry: Entry,
): Promise<StoredEvent | undefined> {
  if (holdPersonal(reactor.from)) await host.app.sealer.ready(metaOf(entry).tenant);
  const event = decodeEntry(reactor.from, entry, host.app.sealer);
  if (event) checkProducer(entry);
  return event;
}

async function carryOut(
  reactor: Reactor,
  host: ReactorHost,
  event: StoredEvent,
  all: readonly Wanted[],
): Promise<void> {
  const tooOld = host.app.now().getTime() - event.meta.time.getTime() > causeAgeMaxMs;
  for (const wanted of all) {
    if (wanted.kind === "command") await handleUnlessRejected(host, wanted);
    else if (!tooOld || host.backfill) await dispatch(host, wanted);
    else {
      const about = { reactor: reactor.name, eventId: event.meta.eventId, jobId: wanted.jobId };
      host.logger.warn(about, "the cause is older than the journals: no job without backfill");
    }
  }
}

function dispatch({ app }: ReactorHost, wanted: Extract<Wanted, { kind: "dispatch" }>) {
  const { request, jobId, cause } = wanted;
  const { job, input, options } = request;
  return app.dispatch({ ...cause, job, jobId, input, options });
}

/** A state that forbids the command is an answer, not a failure: there is nothing to do. */
async function handleUnlessRejected(
  host: ReactorHost,
  wanted: Extract<Wanted, { kind: "command" }>,
): Promise<void> {
  try {
    const { request, eventSeed, cause } = wanted;
    const { aggregate, id, command, input } = request;
    await host.app.handle(aggregate, id, command, input, { ...cause, eventSeed });
  } catch (error) {
    const failure = classify(error);
    if (failure.kind !== "rejected") throw error;
    const about = { code: failure.code, command: wanted.request.command, id: wanted.request.id };
    host.logger.info(about, "the aggregate rejected the reaction");
  }
}

async function quarantine(settling: Settling, failure: Failure): Promise<void> {
  const { reactor, host, message, signal } = settling;
  const entry = entryOf(message);
  const part = `${host.service}-${reactor.name}`;
  const headers = {
    ...envelopeHeaders(entry),
    "Nats-Msg-Id": `${part}:${message.sequence}`,
    "chom-quarantined-subject": message.subject,
    "chom-quarantined-sequence": String(message.sequence),
    "chom-quarantined-code": failure.code,
    "chom-quarantined-reason": escaped(scrub(failure.message, 500)),
  };
  const subject = quarantineSubject(host.service, reactor.name);
  for (;;) {
    try {
      valueOf(await publish(host.nats, subject, message.body, { headers }), "quarantining");
      break;
    } catch (error) {
      host.logger.warn({ err: error, reactor: reactor.name }, "cannot quarantine, trying again");
      await pause(1_000, signal);
      if (signal.aborted) return message.nak();
    }
  }
  message.ack();
  count("chom_quarantined_total", { reactor: part });
  const { subject: from, sequence } = message;
  const about = { alert: "reactor-quarantined", reactor: part, code: failure.code, sequence, from };
  host.logger.error({ ...about, err: failure }, "an event failed repeatedly and was quarantined");
}

/** Sleeps, but not through a stop. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
