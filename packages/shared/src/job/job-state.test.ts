import fc from "fast-check";
import { expect, test } from "vitest";
import { classify, failureOf, transient } from "../failure/failure.ts";
import { codes } from "../failure/codes.ts";
import { foldJournal, mustUndo, noJob } from "./job-state.ts";
import { journalEvents } from "./journal-events.ts";
import type { JournalEntry } from "./journal.ts";
import { backoffOf, consequenceOf, moveOf } from "./next-move.ts";

const names = Object.keys(journalEvents) as JournalEntry["name"][];
const start = Date.UTC(2026, 0, 1);

/** Entries with data as the codecs give them for little or strange input. */
const fields = fc.record({
  attempt: fc.integer({ min: 1, max: 5 }),
  generation: fc.integer({ min: 1, max: 3 }),
  tries: fc.integer({ min: 1, max: 5 }),
  step: fc.constantFrom("a", "b", "c"),
  undoable: fc.boolean(),
  code: fc.constantFrom("disk-full", "dns-not-pointed", ""),
  until: fc.option(fc.integer({ min: 0, max: 9 })),
});
const entryOf = (name: JournalEntry["name"], given: object, position: number): JournalEntry => {
  const { until, ...plain } = given as { until?: number | null };
  const at = until === null || until === undefined ? undefined : new Date(start + until * 1_000);
  const iso = at?.toISOString();
  const json = {
    ...plain,
    failure: { code: "x", kind: "transient", message: "", step: "" },
    ...(iso && { until: iso, nextAt: iso, notBefore: iso, expiresAt: iso }),
    events: [{ eventId: `${name}-${position}`, subject: "evt.t.backups.s", type: "T" }],
  };
  const meta = { position, time: new Date(start + position), tenant: "t", id: "j", eventId: "e" };
  // The codec of a name gives the data of that name.
  return { name, data: journalEvents[name].codec.fromJSON(json), meta } as unknown as JournalEntry;
};
const histories = fc
  .array(fc.tuple(fc.constantFrom(...names), fields), { maxLength: 40 })
  .map((entries) => entries.map(([name, given], index) => entryOf(name, given, index + 1)));
const now = new Date(start + 5_000);

test("any history gives a state, and the state a move", () => {
  fc.assert(
    fc.property(histories, (history) => {
      const state = foldJournal(history);
      expect(state.sequence).toBe(history.length);
      expect(["refuse", "nothing", "cancel", "wait", "fail", "work"]).toContain(
        moveOf(state, now).do,
      );
    }),
  );
});

test("reading a journal in parts gives the same state as at once", () => {
  fc.assert(
    fc.property(histories, fc.nat(40), (history, cut) => {
      const parts = foldJournal(history.slice(cut), foldJournal(history.slice(0, cut)));
      expect(parts).toEqual(foldJournal(history));
    }),
  );
});

test("a job that has ended is never worked on again until it is retried", () => {
  fc.assert(
    fc.property(histories, (history) => {
      const ended = history.findLastIndex(({ name }) =>
        ["JobCompleted", "JobSkipped", "JobFailed", "JobCancelled"].includes(name),
      );
      const retried = history.findLastIndex(({ name }) => name === "JobRetried");
      const queued = history.some(({ name }) => name === "JobQueued");
      if (ended > retried && queued) {
        expect(moveOf(foldJournal(history), now).do).toBe("nothing");
      }
    }),
  );
});

test("everything that was decided stays known, in order", () => {
  fc.assert(
    fc.property(histories, (history) => {
      const said = history.flatMap(({ data }) => ("events" in data ? data.events : []));
      const known = foldJournal(history).decided.map(({ eventId }) => eventId);
      expect(known).toEqual(said.map(({ eventId }) => eventId));
    }),
  );
});

test("only finished steps that were not undone are remembered, and none of an earlier generation", () => {
  fc.assert(
    fc.property(histories, (history) => {
      const state = foldJournal(history);
      const from = history.findLastIndex(({ name }) => name === "JobRetried") + 1;
      const expected = new Set<string>();
      for (const entry of history.slice(from)) {
        if (entry.name === "StepCompleted") expected.add(entry.data.step);
        if (entry.name === "StepUndone") expected.delete(entry.data.step);
      }
      expect(new Set(state.steps.keys())).toEqual(expected);
      if (expected.size === 0) expect(mustUndo(state)).toBe(false);
    }),
  );
});

/** A worker that is honest about numbers: tries are spent by failures and deaths, never by waiting. */
test("a job is started once more than it was deferred or parked, and at most as often as it has tries", () => {
  const ends = fc.array(fc.constantFrom("fail", "die", "defer", "release"), { maxLength: 60 });
  fc.assert(
    fc.property(ends, fc.integer({ min: 1, max: 6 }), (outcomes, tries) => {
      const at = (position: number, name: JournalEntry["name"], given: object) =>
        entryOf(name, given, position);
      let position = 1;
      let state = foldJournal([at(1, "JobQueued", { tries })], noJob);
      let spent = 0;
      for (const outcome of outcomes) {
        const move = moveOf(state, new Date(start + 60_000));
        if (move.do !== "work") {
          expect(spent).toBe(tries);
          return;
        }
        expect(move.attempt).toBe(spent + 1);
        position += 1;
        state = foldJournal([at(position, "JobStarted", { attempt: move.attempt })], state);
        position += 1;
        if (outcome === "fail") {
          state = foldJournal([at(position, "JobAttemptFailed", { until: 1 })], state);
        } else if (outcome !== "die") {
          state = foldJournal([at(position, "JobDeferred", { until: 1, code: outcome })], state);
        }
        if (outcome === "fail" || outcome === "die") spent += 1;
      }
    }),
  );
});

const facts = {
  attempt: 1,
  tries: 3,
  backoffMs: [20_000, 60_000],
  backoffKind: "list" as const,
  backoffMaxMs: 0,
  exceptions: 0,
  maxExceptions: 0,
  deferrals: { code: "", count: 0 },
  now,
  random: 0,
};

test("every code has a consequence, and no code is tried for ever without waiting", () => {
  for (const code of codes) {
    const last = { ...facts, attempt: 3, deferrals: { code, count: 1_000 } };
    const failure = failureOf(code, "");
    const { then } = consequenceOf(failure, last);
    const endless = failure.wait !== undefined && failure.wait.max === undefined;
    expect([code, then]).toEqual([
      code,
      endless ? "defer" : failure.kind === "operator" ? "park" : "fail",
    ]);
  }
});

test("delays lie between half and the whole of the list's, whose last one repeats", () => {
  expect(backoffOf({ ...facts, random: 0 })).toBe(10_000);
  expect(backoffOf({ ...facts, random: 1 })).toBe(20_000);
  expect(backoffOf({ ...facts, attempt: 2, random: 1 })).toBe(60_000);
  expect(backoffOf({ ...facts, attempt: 9, random: 1 })).toBe(60_000);
});

test("exponential delays double from the first one, are drawn from zero on, and are bounded", () => {
  const growing = { ...facts, backoffKind: "exponential" as const, random: 1 };
  const delays = [1, 2, 3, 4].map((attempt) => backoffOf({ ...growing, attempt }));
  expect(delays).toEqual([20_000, 40_000, 80_000, 160_000]);
  expect(backoffOf({ ...growing, attempt: 3, random: 0 })).toBe(0);
  expect(backoffOf({ ...growing, attempt: 100, backoffMaxMs: 90_000 })).toBe(90_000);
  expect(backoffOf({ ...growing, attempt: 100 })).toBe(7 * 86_400_000);
  expect(backoffOf({ ...facts, attempt: 2, backoffMaxMs: 30_000, random: 1 })).toBe(30_000);
});

test("so many unforeseen exceptions fail a job with tries left, foreseen failures do not count", () => {
  const bounded = { ...facts, tries: 100, attempt: 50, exceptions: 1, maxExceptions: 2 };
  const bug = classify(new TypeError("x is not a function"));
  expect(consequenceOf(bug, bounded).then).toBe("fail");
  expect(consequenceOf(bug, { ...bounded, exceptions: 0 }).then).toBe("retry");
  expect(consequenceOf(bug, { ...bounded, maxExceptions: 0 }).then).toBe("retry");
  expect(consequenceOf(transient("repo-unavailable", "down"), bounded).then).toBe("retry");
});

test("who says to come back at once is not asked again within a second", () => {
  const failure = transient("repo-throttled", "slow down", { retryAfterMs: 0 });
  const at = new Date(now.getTime() + 1_000);
  expect(consequenceOf(failure, { ...facts, backoffMaxMs: 10 })).toEqual({ then: "retry", at });
});

test("who says when to come back is believed", () => {
  const failure = transient("repo-throttled", "slow down", { retryAfterMs: 90_000 });
  expect(consequenceOf(failure, facts)).toEqual({
    then: "retry",
    at: new Date(now.getTime() + 90_000),
  });
});

test("what is out of date is tried again although its kind is permanent", () => {
  expect(consequenceOf(failureOf("lease-lost", ""), facts).then).toBe("retry");
  expect(consequenceOf(failureOf("port-conflict", ""), facts).then).toBe("fail");
});
