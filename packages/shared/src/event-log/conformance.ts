/** What every event log must do; one suite for the real one and the one in memory. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { EventLog, NewEntry } from "./event-log.ts";

/** A minimal entry; `over` replaces parts. */
export const entryFor = (subject: string, id: string, over: Partial<NewEntry> = {}): NewEntry => ({
  subject,
  id,
  type: "chom.test.v1.Happened",
  time: new Date("2026-11-23T22:00:00.123Z"),
  source: "test",
  actor: "tester",
  causationId: "cause-1",
  correlationId: "correlation-1",
  traceparent: "",
  body: `{"id":"${id}"}`,
  ...over,
});

let aggregates = 0;
/** A subject nobody else uses, so that one broker serves all tests. */
const freshSubject = (kind = "site"): string => `evt.acme.${kind}.s${process.pid}-${aggregates++}`;

/** Registers the suite; `open` is called once a test and may give the same log again. */
export function conformsToEventLog(name: string, open: () => EventLog): void {
  const appended = async (log: EventLog, subject: string, expected: number, ...ids: string[]) =>
    log.append(
      "EVENTS",
      subject,
      expected,
      ids.map((id) => entryFor(subject, `${subject}-${id}`)),
    );
  const idsOf = async (log: EventLog, subject: string, after?: number) =>
    (await log.load("EVENTS", subject, after)).map(({ id }) => id.slice(subject.length + 1));

  test(`${name}: an entry comes back as it was appended, whatever its texts`, async () => {
    const log = open();
    const subject = freshSubject();
    const odd = {
      actor: "Zoë %20 \r\nNats-Msg-Id: x",
      causationId: "",
      traceparent: "00-ab-cd-01",
    };
    const entry = entryFor(subject, `${subject}-odd`, { ...odd, body: '{"a":"ü\\u0000\\n"}' });
    const sequence = await log.append("EVENTS", subject, 0, [entry]);
    expect(await log.load("EVENTS", subject)).toEqual([{ ...entry, sequence }]);
    expect(await log.last("EVENTS", subject)).toEqual({ ...entry, sequence });
  });

  test(`${name}: a subject nobody wrote to is empty`, async () => {
    const log = open();
    const subject = freshSubject();
    expect(await log.load("EVENTS", subject)).toEqual([]);
    expect(await log.last("EVENTS", subject)).toBeUndefined();
    expect(await log.append("EVENTS", subject, 7, [])).toBe(7);
  });

  test(`${name}: an append at another sequence than the last is a conflict and stores nothing`, async () => {
    const log = open();
    const subject = freshSubject();
    const first = await appended(log, subject, 0, "a");
    const wrong = { kind: "conflict", code: "wrong-sequence" };
    await expect(appended(log, subject, 0, "b")).rejects.toMatchObject(wrong);
    await expect(appended(log, subject, first + 1, "b")).rejects.toMatchObject(wrong);
    await expect(appended(log, subject, 0, "b", "c")).rejects.toMatchObject(wrong);
    await expect(appended(log, freshSubject(), first, "b")).rejects.toMatchObject(wrong);
    expect(await idsOf(log, subject)).toEqual(["a"]);
    await appended(log, subject, first, "b");
    expect(await idsOf(log, subject)).toEqual(["a", "b"]);
  });

  test(`${name}: several entries are one append, in order and without a gap`, async () => {
    const log = open();
    const subject = freshSubject();
    const last = await appended(log, subject, 0, "a", "b", "c");
    const entries = await log.load("EVENTS", subject);
    expect(entries.map(({ sequence }) => sequence)).toEqual([last - 2, last - 1, last]);
    expect(await idsOf(log, subject, last - 1)).toEqual(["c"]);
    expect(await appended(log, subject, last, "d", "e")).toBeGreaterThan(last);
    expect(await idsOf(log, subject)).toEqual(["a", "b", "c", "d", "e"]);
  });

  test(`${name}: a repeated append answers the same and stores nothing, also behind others`, async () => {
    const log = open();
    const subject = freshSubject();
    const one = await appended(log, subject, 0, "a");
    expect(await appended(log, subject, 0, "a")).toBe(one);
    const batch = await appended(log, subject, one, "b", "c");
    expect(await appended(log, subject, one, "b", "c")).toBe(batch);
    await appended(log, subject, batch, "d");
    expect(await appended(log, subject, one, "b", "c")).toBe(batch);
    expect(await appended(log, subject, 0, "a")).toBe(one);
    expect(await idsOf(log, subject)).toEqual(["a", "b", "c", "d"]);
  });

  test(`${name}: of twenty writers at once exactly one wins`, async () => {
    const log = open();
    const subject = freshSubject();
    const writers = Array.from({ length: 20 }, (_, i) => appended(log, subject, 0, `w${i}`));
    const results = await Promise.allSettled(writers);
    const lost = results.filter((result) => result.status === "rejected");
    expect(lost.map(({ reason }) => (reason as { code: string }).code)).toEqual(
      Array.from({ length: 19 }, () => "wrong-sequence"),
    );
    expect(await idsOf(log, subject)).toHaveLength(1);
  });

  test(`${name}: the same append twenty times at once is one append`, async () => {
    const log = open();
    const subject = freshSubject();
    const results = await Promise.all(
      Array.from({ length: 20 }, () => appended(log, subject, 0, "same")),
    );
    expect(new Set(results).size).toBe(1);
    expect(await idsOf(log, subject)).toEqual(["same"]);
  });

  test(`${name}: reading a filter gives its entries in stream order and says how far it looked`, async () => {
    const log = open();
    const start = await appended(log, freshSubject("other"), 0, "before");
    const [mine, theirs] = [freshSubject("mine"), freshSubject("other")];
    const first = await appended(log, mine, 0, "a");
    await appended(log, theirs, 0, "x");
    const second = await appended(log, mine, first, "b");
    const end = await appended(log, theirs, await lastOf(log, theirs), "y");

    const read = async (after: number, batch: number) => {
      const answer = await log.read("EVENTS", "evt.*.mine.*", after, batch);
      return { ...answer, entries: answer.entries.map(({ sequence }) => sequence) };
    };
    // Polled, since a replica may lag a little.
    await expect
      .poll(() => read(start, 10))
      .toEqual({
        entries: [first, second],
        lastSequence: end,
      });
    await expect.poll(async () => (await read(start, 1)).entries).toEqual([first]);
    expect((await read(start, 1)).lastSequence).toBeLessThan(second);
    expect(await read(end, 10)).toEqual({ entries: [], lastSequence: end });
  });

  test(`${name}: long histories come back whole`, { timeout: 60_000 }, async () => {
    const log = open();
    const subject = freshSubject("long");
    let last = 0;
    for (let round = 0; round < 13; round += 1) {
      const ids = Array.from({ length: 100 }, (_, i) => `${round}-${i}`);
      last = await appended(log, subject, last, ...ids);
    }
    const entries = await log.load("EVENTS", subject);
    expect(entries).toHaveLength(1_300);
    expect(new Set(entries.map(({ id }) => id)).size).toBe(1_300);
    const from = (entries[0]?.sequence ?? 0) - 1;
    const read = await log.read("EVENTS", "evt.*.long.*", from, 1_300);
    let { entries: found, lastSequence } = read;
    while (found.length < 1_300) {
      const next = await log.read("EVENTS", "evt.*.long.*", lastSequence, 1_300);
      expect(next.lastSequence).toBeGreaterThanOrEqual(lastSequence);
      found = [...found, ...next.entries];
      lastSequence = next.lastSequence;
    }
    expect(found.map(({ id }) => id)).toEqual(entries.map(({ id }) => id));
  });

  test(`${name}: the two streams do not mix, and each has an epoch`, async () => {
    const log = open();
    const subject = freshSubject().replace("evt.", "jrn.");
    await log.append("JOURNAL", subject, 0, [entryFor(subject, `${subject}-a`)]);
    expect(await log.load("JOURNAL", subject)).toHaveLength(1);
    expect(await log.load("EVENTS", subject)).toEqual([]);
    expect(await log.epoch("EVENTS")).toBeGreaterThan(0);
    expect(await log.epoch("JOURNAL")).toBeGreaterThan(0);
  });

  test(`${name}: an entry is found by its sequence, and the tip is the last one`, async () => {
    const log = open();
    const subject = freshSubject();
    const last = await appended(log, subject, 0, "a", "b");
    expect((await log.at("EVENTS", last - 1))?.id).toBe(`${subject}-a`);
    expect(await log.at("EVENTS", last)).toEqual(await log.last("EVENTS", subject));
    expect(await log.tip("EVENTS")).toBe(last);
    expect(await log.at("EVENTS", last + 1)).toBeUndefined();
  });

  test(`${name}: a hint wakes for what matches, until it is stopped`, async () => {
    const log = open();
    let woken = 0;
    const stop = log.hint("EVENTS", "evt.*.hinted.*", () => (woken += 1));
    await sleep(20);
    await appended(log, freshSubject("other"), 0, "no");
    const subject = freshSubject("hinted");
    const last = await appended(log, subject, 0, "yes");
    await expect.poll(() => woken).toBe(1);
    stop();
    await appended(log, subject, last, "late");
    await sleep(50);
    expect(woken).toBe(1);
  });
}

const lastOf = async (log: EventLog, subject: string): Promise<number> =>
  (await log.last("EVENTS", subject))?.sequence ?? 0;
