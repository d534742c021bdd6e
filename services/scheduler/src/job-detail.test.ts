import {
  JobAttemptFailed,
  JobCancelAcknowledged,
  JobCancelled,
  JobCancelRequested,
  JobCompleted,
  JobDeferred,
  JobFailed,
  JobQueued,
  JobRetried,
  JobStarted,
  JobWaiting,
  StepCompleted,
  StepUndone,
} from "@chom/proto/chom/jobs/v1/journal";
import type { JournalEntry } from "@chom/shared/job/journal";
import { expect, test } from "vitest";
import { detailOf } from "./job-detail.ts";
import { maskInput } from "./mask-input.ts";

const start = Date.UTC(2026, 0, 1);
/** A journal with an entry a second. */
const journal = (...told: readonly (readonly [string, unknown])[]): JournalEntry[] =>
  told.map(([name, data], index) => {
    const time = new Date(start + index * 1_000);
    const ids = { eventId: `e${index}`, tenant: "t", id: "j", actor: "a" };
    const meta = { ...ids, time, position: index + 1, causationId: "c", correlationId: "o" };
    return { name, data, meta, traceparent: "" } as JournalEntry;
  });
const second = (index: number) => new Date(start + index * 1_000);
const failure = { code: "disk-full", kind: "operator", message: "full", step: "dump" };
const queued = ["JobQueued", JobQueued.fromPartial({ jobName: "a.b", timeoutMs: 5n })] as const;
const begin = (attempt: number) =>
  ["JobStarted", JobStarted.fromPartial({ attempt, worker: "w" })] as const;

test("attempts, steps and waits are told in their order and with their times", () => {
  const detail = detailOf(
    journal(
      queued,
      ["JobWaiting", JobWaiting.fromPartial({ leaseKey: "site.1", holderJobId: "h" })],
      begin(1),
      ["StepCompleted", StepCompleted.fromPartial({ step: "dump", durationMs: 400n })],
      [
        "JobAttemptFailed",
        JobAttemptFailed.fromPartial({ attempt: 1, failure, nextAt: second(9) }),
      ],
      begin(2),
      ["JobDeferred", JobDeferred.fromPartial({ reason: "later" })],
      begin(2),
      ["JobCompleted", JobCompleted.fromPartial({})],
    ),
  );
  expect(detail.attempts.map(({ attempt, outcome, fence }) => [attempt, outcome, fence])).toEqual([
    [1, "failed", 3n],
    [2, "deferred", 6n],
    [2, "completed", 8n],
  ]);
  expect(detail.attempts[0]).toMatchObject({ failure, nextAt: second(9), endedAt: second(4) });
  expect(detail.steps).toMatchObject([
    { name: "dump", attempt: 1, startedAt: new Date(start + 2_600), finishedAt: second(3) },
  ]);
  expect(detail.waits.map(({ kind, reason, durationMs }) => [kind, reason, durationMs])).toEqual([
    ["queue", "", 1_000n],
    ["lease", "site.1", 1_000n],
    ["backoff", "", 1_000n],
    ["deferred", "later", 1_000n],
  ]);
  expect(detail).toMatchObject({ causationId: "c", entriesCount: 9, timeoutMs: 5n });
});

test("a worker that was lost leaves an attempt without an end; one that runs is told as running", () => {
  const { attempts } = detailOf(journal(queued, begin(1), begin(2)));
  expect(attempts).toMatchObject([
    { outcome: "lost", endedAt: undefined },
    { outcome: "running", endedAt: undefined },
  ]);
});

test("a cancel is told from the request over the worker's word to the end, with what was undone", () => {
  const detail = detailOf(
    journal(
      queued,
      begin(1),
      ["StepCompleted", StepCompleted.fromPartial({ step: "dump" })],
      ["JobCancelRequested", JobCancelRequested.fromPartial({ actor: "ann", reason: "wrong" })],
      ["JobCancelAcknowledged", JobCancelAcknowledged.fromPartial({ worker: "w" })],
      ["StepUndone", StepUndone.fromPartial({ step: "dump" })],
      ["JobCancelled", JobCancelled.fromPartial({ actor: "ann", reason: "wrong" })],
    ),
  );
  expect(detail.cancel).toMatchObject({
    ...{ actor: "ann", reason: "wrong", requestedAt: second(3), acknowledgedAt: second(4) },
    ...{ acknowledgedBy: "w", endedAt: second(6) },
  });
  expect(detail.steps).toMatchObject([{ undoneAt: second(5), undoFailure: undefined }]);
  expect(detail.attempts).toMatchObject([{ outcome: "cancelled" }]);
});

test("attempts of a retried job belong to the next generation", () => {
  const detail = detailOf(
    journal(
      queued,
      begin(1),
      ["JobFailed", JobFailed.fromPartial({ failure })],
      ["JobRetried", JobRetried.fromPartial({ generation: 2 })],
      begin(1),
    ),
  );
  expect(detail.attempts.map(({ generation, outcome }) => [generation, outcome])).toEqual([
    [1, "failed"],
    [2, "running"],
  ]);
  expect(detail.attempts[0]?.failure).toEqual(failure);
});

test("an input is shown without what is secret, by declaration, by name or by shape", () => {
  const input = {
    siteId: "site-1",
    adminEmail: "a@example.org",
    address: "203.0.113.7",
    oneTimePassword: "hunter2",
    nested: [{ apiKey: "k", domain: "example.org", "auth-token": "t", enabled: true }],
    note: "see -----BEGIN PRIVATE KEY-----abc-----END PRIVATE KEY-----",
    force: false,
    password: "",
  };
  expect(maskInput(input)).toEqual({
    siteId: "site-1",
    adminEmail: "[masked]",
    address: "[masked]",
    oneTimePassword: "[masked]",
    nested: [
      { apiKey: "[masked]", domain: "example.org", "auth-token": "[masked]", enabled: true },
    ],
    note: "see [secret]",
    force: false,
    password: "",
  });
});
