import { startNatsCluster, startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { classify } from "../failure/failure.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { entryFor } from "./conformance.ts";
import type { NewEntry } from "./event-log.ts";
import { groupCommit } from "./group-commit.ts";
import { append } from "./jetstream-append.ts";
import { jetstreamLog } from "./jetstream-log.ts";
import { connectNats, type Nats } from "./nats.ts";
import type { Pacing } from "./pacing.ts";

const inGroups: Pacing = { mode: () => "group", settled: () => {} };
let made = 0;
const freshSubject = () => `evt.acme.site.g${made++}`;

/** Counts batches, and loses the answer of the next `lose` commits although they were stored. */
function watched(nats: Nats) {
  const seen = { commits: 0, lose: 0 };
  const watching = new Proxy(nats, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key);
      if (key !== "request") return typeof value === "function" ? value.bind(target) : value;
      return async (...args: Parameters<Nats["request"]>) => {
        const reply = await target.request(...args);
        if (!String(args[2]?.headers).includes("Nats-Batch-Commit")) return reply;
        seen.commits += 1;
        if (seen.lose === 0) return reply;
        seen.lose -= 1;
        throw new Error("the answer was lost");
      };
    },
  });
  return { seen, watching };
}

for (const replicas of [1, 3] as const) {
  describe(`R${replicas}`, () => {
    let connection: Nats | undefined;
    let close: () => Promise<unknown> = async () => {};
    beforeAll(async () => {
      const broker = replicas === 1 ? await startNatsServer() : await startNatsCluster(3);
      const servers = "urls" in broker ? broker.urls : broker.url;
      const nats = await connectNats({ servers, name: "test" });
      close = async () => {
        await nats.close();
        await broker.stop();
      };
      await apply(nats, topology({ replicas }), { nowMs: Date.now() });
      connection = nats;
    });
    afterAll(() => close());

    function opened() {
      if (!connection) throw new Error("the broker did not start");
      const { seen, watching } = watched(connection);
      const group = groupCommit(watching, inGroups);
      const put = (subject: string, expected: number, entries: readonly NewEntry[]) =>
        append(
          { nats: watching, group, stream: "EVENTS", subject, expected, entries: entries as never },
          () => performance.now(),
        );
      const one = (subject: string, expected = 0, id = `${subject}-${expected}`) =>
        put(subject, expected, [entryFor(subject, id)]);
      const log = jetstreamLog(connection);
      const stored = async (subject: string) =>
        (await log.load("EVENTS", subject)).map(({ id, sequence }) => ({ id, sequence }));
      return { seen, put, one, stored };
    }

    test("appends of one moment share a batch, and each is answered its own sequence", async () => {
      const { seen, put, one, stored } = opened();
      const subjects = Array.from({ length: 50 }, freshSubject);
      const several = (subject: string) =>
        put(
          subject,
          0,
          ["a", "b", "c"].map((id) => entryFor(subject, `${subject}-${id}`)),
        );
      const answers = await Promise.all(
        subjects.map((subject, index) => (index % 5 === 4 ? several(subject) : one(subject))),
      );
      // The first one found nobody to wait for.
      expect(seen.commits).toBe(1);
      for (const [index, subject] of subjects.entries()) {
        const entries = await stored(subject);
        expect(entries).toHaveLength(index % 5 === 4 ? 3 : 1);
        expect(entries.at(-1)?.sequence, subject).toBe(answers[index]);
      }
    });

    test("of a group only the members that conflict fail", async () => {
      const { seen, one, stored } = opened();
      const subjects = Array.from({ length: 40 }, freshSubject);
      const taken = subjects.filter((_, index) => index % 10 === 5);
      const before = await Promise.all(taken.map((subject) => one(subject, 0, `${subject}-else`)));
      seen.commits = 0;
      const results = await Promise.allSettled(subjects.map((subject) => one(subject)));
      expect(seen.commits).toBe(1);
      for (const [index, subject] of subjects.entries()) {
        const result = results[index];
        const entries = await stored(subject);
        expect(entries).toHaveLength(1);
        const at = taken.indexOf(subject);
        if (at < 0) {
          expect(result).toEqual({ status: "fulfilled", value: entries[0]?.sequence });
          continue;
        }
        expect(entries[0]?.sequence).toBe(before[at]);
        const why = result?.status === "rejected" ? classify(result.reason).code : "stored";
        expect(why).toBe("wrong-sequence");
      }
    });

    test("a group whose answer was lost is stored once, and answered", async () => {
      const { seen, one, stored } = opened();
      const subjects = Array.from({ length: 40 }, freshSubject);
      seen.lose = 1;
      const answers = await Promise.all(subjects.map((subject) => one(subject)));
      expect(seen.commits).toBe(1);
      for (const [index, subject] of subjects.entries()) {
        expect(await stored(subject)).toEqual([{ id: `${subject}-0`, sequence: answers[index] }]);
      }
    });

    test("appends to one subject in one moment never meet in a batch: one wins, repeats are one", async () => {
      const { one, stored } = opened();
      const [contested, repeated] = [freshSubject(), freshSubject()];
      const others = Array.from({ length: 30 }, () => one(freshSubject()));
      const contest = Array.from({ length: 10 }, (_, at) =>
        one(contested, 0, `${contested}-w${at}`),
      );
      const repeats = Array.from({ length: 10 }, () => one(repeated));
      const results = await Promise.allSettled(contest);
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      expect(new Set(await Promise.all(repeats)).size).toBe(1);
      await Promise.all(others);
      expect(await stored(contested)).toHaveLength(1);
      expect(await stored(repeated)).toHaveLength(1);
    });

    test("more than fits into one batch becomes several, and what fits into none is refused alone", async () => {
      const { seen, put, one, stored } = opened();
      const many = Array.from({ length: 2_300 }, freshSubject);
      const answers = await Promise.all(many.map((subject) => one(subject)));
      expect(seen.commits).toBeGreaterThanOrEqual(3);
      expect(new Set(answers).size).toBe(many.length);

      seen.commits = 0;
      const large = Array.from({ length: 12 }, freshSubject);
      const body = JSON.stringify("x".repeat(700_000));
      const huge = freshSubject();
      const tooMany = Array.from({ length: 1_001 }, (_, at) => entryFor(huge, `${huge}-${at}`));
      const results = await Promise.allSettled([
        ...large.map((subject) => put(subject, 0, [entryFor(subject, subject, { body })])),
        put(huge, 0, tooMany),
      ]);
      expect(results.slice(0, -1).every(({ status }) => status === "fulfilled")).toBe(true);
      expect(results.at(-1)).toMatchObject({
        status: "rejected",
        reason: { code: "entry-too-large" },
      });
      expect(await stored(huge)).toEqual([]);
    });
  });
}
