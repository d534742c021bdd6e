/** Makes the broker have what the table says. Only the user `topology` may; running it again changes nothing. */
import { setTimeout as sleep } from "node:timers/promises";
import { api, type Nats, valueOf } from "../event-log/nats.ts";
import type { ConsumerSettings } from "./consumers.ts";
import {
  consumerName,
  consumerState,
  differencesOf,
  type StreamState,
  streamName,
  streamState,
} from "./plan.ts";
import type { StreamSettings } from "./streams.ts";
import { epochKey, type Topology } from "./topology.ts";

export type ApplyOptions = {
  /** Now, in ms; becomes the epoch of streams that are made. */
  readonly nowMs: number;
  /** Consumers (`EVENTS/ssl-sites`) that start at the first event although the stream has history already. */
  readonly backfill?: readonly string[];
};

export type Change = { readonly what: string; readonly did: "created" | "updated" };

// "no suitable peers" and "temporarily unavailable": brokers of a cluster that has just started still find each other.
const settling = [10_005, 10_008];

/** A change of the broker, tried for half a minute while its cluster settles. Failure `transient` "log-unavailable". */
async function change(nats: Nats, verb: string, body: object, doing: string): Promise<void> {
  for (let left = 30; ; left -= 1) {
    const answer = await api(nats, verb, body, 15_000);
    const waits = "fault" in answer && settling.includes(answer.fault.code) && left > 0;
    if (!waits) return void valueOf(answer, doing);
    await sleep(1_000);
  }
}

/**
 * Creates and updates streams, then consumers, and says what it did. A stream that is made gets an epoch: now, but
 * above every epoch seen, so that a clock set back cannot give a recreated stream a lower one. A consumer made on a
 * stream with history starts behind it: old facts are reacted to only when `backfill` says so.
 */
export async function apply(
  nats: Nats,
  table: Topology,
  { nowMs, backfill = [] }: ApplyOptions,
): Promise<Change[]> {
  const states = new Map<string, StreamState | undefined>();
  for (const { name } of table.streams) states.set(name, await streamState(nats, name));
  const epochs = [...states.values()].map((state) =>
    Number(state?.config.metadata?.[epochKey] ?? 0),
  );
  const epoch = Math.max(nowMs, ...epochs.map((seen) => seen + 1));
  const changes: Change[] = [];
  for (const settings of table.streams) {
    const did = await applyStream(nats, settings, states.get(settings.name), epoch);
    if (did) changes.push({ what: streamName(settings), did });
  }
  for (const consumer of table.consumers) {
    const fromStart = backfill.includes(`${consumer.stream}/${consumer.name}`);
    const lastSequence = states.get(consumer.stream)?.state.last_seq ?? 0;
    const did = await applyConsumer(nats, consumer, fromStart ? 0 : lastSequence);
    if (did) changes.push({ what: consumerName(consumer), did });
  }
  return changes;
}

async function applyStream(
  nats: Nats,
  settings: StreamSettings,
  have: StreamState | undefined,
  epoch: number,
): Promise<Change["did"] | undefined> {
  const known = have?.config.metadata?.[epochKey];
  const same = differencesOf("", settings, have?.config).length === 0;
  if (have && same && known !== undefined) return undefined;
  const metadata = { ...have?.config.metadata, [epochKey]: known ?? String(epoch) };
  const verb = have ? "UPDATE" : "CREATE";
  const config = { ...have?.config, ...settings, metadata };
  const doing = `${verb.toLowerCase()} ${streamName(settings)}`;
  await change(nats, `STREAM.${verb}.${settings.name}`, config, doing);
  return have ? "updated" : "created";
}

async function applyConsumer(
  nats: Nats,
  consumer: ConsumerSettings,
  lastSequence: number,
): Promise<Change["did"] | undefined> {
  const { stream, name, config } = consumer;
  const have = await consumerState(nats, consumer);
  if (have && differencesOf("", config, have.config).length === 0) return undefined;
  // A work queue hands out what is there; elsewhere the start is recorded and never moves.
  const start =
    stream === "JOBS" || lastSequence === 0
      ? { deliver_policy: "all" }
      : { deliver_policy: "by_start_sequence", opt_start_seq: lastSequence + 1 };
  const action = have ? "update" : "create";
  const wanted = { ...start, durable_name: name, name, ...have?.config, ...config };
  const body = { stream_name: stream, action, config: wanted };
  const verb = `CONSUMER.DURABLE.CREATE.${stream}.${name}`;
  await change(nats, verb, body, `applying ${consumerName(consumer)}`);
  return have ? "updated" : "created";
}
