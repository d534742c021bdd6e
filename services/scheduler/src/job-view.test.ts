import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import {
  JobAttemptFailed,
  JobCompleted,
  JobDeferred,
  JobFailed,
  JobParked,
  JobQueued,
  JobRetried,
  JobStarted,
  StepCompleted,
} from "@chom/proto/chom/jobs/v1/journal";
import type { JournalEntry } from "@chom/shared/job/journal";
import type { journalEvents } from "@chom/shared/job/journal-events";
import { expect, test } from "vitest";
import { changeOf, isTerminal, shownJson, stateAfter } from "./job-view.ts";

const at = new Date("2026-01-01T00:00:00Z");
const later = new Date("2026-01-01T00:05:00Z");
const meta = {
  eventId: "e",
  time: at,
  tenant: "t",
  id: "j",
  position: 1,
  actor: "a",
  causationId: "",
  correlationId: "",
};
const entry = (name: keyof typeof journalEvents, data: unknown) =>
  ({ name, data, meta, traceparent: "" }) as JournalEntry;

const queued = entry("JobQueued", JobQueued.fromPartial({ jobName: "site.provision", tries: 3 }));
const started = entry("JobStarted", JobStarted.fromPartial({ attempt: 1 }));
const sealed = { keyId: "k", ciphertext: Buffer.from("sealed bytes") };

test("a delayed job is scheduled until it starts, then runs, then ends", () => {
  const delayed = entry("JobQueued", JobQueued.fromPartial({ notBefore: later }));
  expect(stateAfter([delayed])).toBe(JobState.SCHEDULED);
  expect(stateAfter([queued])).toBe(JobState.QUEUED);
  expect(stateAfter([delayed, started])).toBe(JobState.RUNNING);
  const completed = entry("JobCompleted", JobCompleted.fromPartial({}));
  expect(stateAfter([queued, started, completed])).toBe(JobState.COMPLETED);
  expect(isTerminal(JobState.COMPLETED)).toBe(true);
  expect(isTerminal(JobState.PARKED)).toBe(false);
});

test("between two attempts it is scheduled, while undoing it still runs", () => {
  const failure = { code: "disk-full", kind: "operator", message: "full", step: "dump" };
  const again = entry("JobAttemptFailed", JobAttemptFailed.fromPartial({ failure, nextAt: later }));
  expect(changeOf(again)).toMatchObject({ dueAt: later, failureCode: "disk-full" });
  expect(stateAfter([queued, started, again])).toBe(JobState.SCHEDULED);
  const last = entry("JobAttemptFailed", JobAttemptFailed.fromPartial({ failure }));
  expect(stateAfter([queued, started, last])).toBe(JobState.RUNNING);
  const over = entry("JobFailed", JobFailed.fromPartial({ failure }));
  expect(stateAfter([queued, started, last, over])).toBe(JobState.FAILED);
});

test("a deferred job says why and until when, a parked one what to do", () => {
  const deferred = JobDeferred.fromPartial({ until: later, reason: "DNS points elsewhere" });
  expect(changeOf(entry("JobDeferred", deferred))).toMatchObject({
    dueAt: later,
    reason: "DNS points elsewhere",
  });
  const parked = JobParked.fromPartial({ remedy: "free some space" });
  expect(changeOf(entry("JobParked", parked))).toMatchObject({
    state: JobState.PARKED,
    reason: "free some space",
  });
});

test("a retried job starts again with no attempts", () => {
  const retried = entry("JobRetried", JobRetried.fromPartial({ generation: 2 }));
  expect(changeOf(retried)).toMatchObject({ state: JobState.QUEUED, attempts: 0, endedAt: null });
});

test("sealed fields never leave", () => {
  const all = [
    entry("JobQueued", JobQueued.fromPartial({ jobName: "n", input: sealed, inputHash: "hash" })),
    entry("StepCompleted", StepCompleted.fromPartial({ step: "dump", result: sealed })),
    entry("JobCompleted", JobCompleted.fromPartial({ result: sealed, durationMs: 5n })),
  ];
  for (const shown of all) {
    expect(shownJson(shown)).not.toMatch(/ciphertext|hash|c2VhbGVk/);
  }
  expect(all.map((shown) => JSON.parse(shownJson(shown)))).toMatchObject([
    { jobName: "n" },
    { step: "dump" },
    { durationMs: "5" },
  ]);
});
