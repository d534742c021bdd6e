/** What differs between the table and the broker, named field by field. */
import { isDeepStrictEqual } from "node:util";
import { type Answer, api, type Nats, valueOf } from "../event-log/nats.ts";
import type { ConsumerSettings } from "./consumers.ts";
import type { StreamSettings } from "./streams.ts";
import type { Topology } from "./topology.ts";

export type Difference = {
  /** `stream EVENTS` or `consumer JOBS/backup-high`. */
  readonly what: string;
  readonly problem: "missing" | "different" | "undeclared";
  /** For "different": which setting, and its two values. */
  readonly field?: string;
  readonly wanted?: unknown;
  readonly found?: unknown;
};

export type StreamState = {
  readonly config: Readonly<Record<string, unknown>> & { metadata?: Record<string, string> };
  readonly state: { readonly last_seq: number; readonly messages: number };
};
export type ConsumerState = { readonly config: Readonly<Record<string, unknown>> };

const absent = new Set([10059, 10014]);

/** What an answer holds, or undefined when there is no such stream or consumer. */
function found<T>(answer: Answer<T>, doing: string): T | undefined {
  if ("fault" in answer && absent.has(answer.fault.code)) return undefined;
  return valueOf(answer, doing);
}

/** A stream as the broker has it. */
export const streamState = async (nats: Nats, name: string): Promise<StreamState | undefined> =>
  found(await api<StreamState>(nats, `STREAM.INFO.${name}`), `reading stream ${name}`);

/** A consumer as the broker has it. */
export const consumerState = async (
  nats: Nats,
  { stream, name }: ConsumerSettings,
): Promise<ConsumerState | undefined> =>
  found(
    await api<ConsumerState>(nats, `CONSUMER.INFO.${stream}.${name}`),
    `reading consumer ${stream}/${name}`,
  );

/** The broker leaves out what is off or empty. */
const sameSetting = (wanted: unknown, have: unknown): boolean =>
  isDeepStrictEqual(wanted, have) ||
  (have === undefined && (wanted === false || wanted === 0 || wanted === "none"));

/** Differences of one stream or consumer; settings that the table does not name are not compared. */
export function differencesOf(
  what: string,
  wanted: Readonly<Record<string, unknown>>,
  have: Readonly<Record<string, unknown>> | undefined,
  ignored: readonly string[] = [],
): Difference[] {
  if (!have) return [{ what, problem: "missing" }];
  return Object.entries(wanted)
    .filter(([field, value]) => !ignored.includes(field) && !sameSetting(value, have[field]))
    .map(([field, value]) => ({
      what,
      problem: "different",
      field,
      wanted: value,
      found: have[field],
    }));
}

export const streamName = ({ name }: StreamSettings): string => `stream ${name}`;
export const consumerName = ({ stream, name }: ConsumerSettings): string =>
  `consumer ${stream}/${name}`;

/** One line for people. */
export const describe = ({ what, problem, field, wanted, found }: Difference): string =>
  problem === "different"
    ? `${what}: ${field} is ${JSON.stringify(found)}, must be ${JSON.stringify(wanted)}`
    : `${what} is ${problem}`;

/** Everything that differs, also durable consumers that nobody declared. Needs the user `topology`. */
export async function plan(nats: Nats, table: Topology): Promise<Difference[]> {
  const differences: Difference[] = [];
  for (const settings of table.streams) {
    const have = await streamState(nats, settings.name);
    differences.push(...differencesOf(streamName(settings), settings, have?.config));
    if (have) differences.push(...(await undeclared(nats, settings.name, table)));
  }
  for (const consumer of table.consumers) {
    const have = await consumerState(nats, consumer);
    differences.push(...differencesOf(consumerName(consumer), consumer.config, have?.config));
  }
  return differences;
}

async function undeclared(nats: Nats, stream: string, table: Topology): Promise<Difference[]> {
  const names: string[] = [];
  for (;;) {
    const page = valueOf(
      await api<{ consumers: string[] | null; total: number }>(nats, `CONSUMER.NAMES.${stream}`, {
        offset: names.length,
      }),
      `listing consumers of ${stream}`,
    );
    names.push(...(page.consumers ?? []));
    if (!page.consumers?.length || names.length >= page.total) break;
  }
  const declared = new Set(
    table.consumers.filter((consumer) => consumer.stream === stream).map(({ name }) => name),
  );
  return names
    .filter((name) => !declared.has(name))
    .map((name) => ({ what: `consumer ${stream}/${name}`, problem: "undeclared" }));
}
