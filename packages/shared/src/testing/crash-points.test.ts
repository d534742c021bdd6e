import { expect, test } from "vitest";
import { aggregate } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { permanent } from "../failure/failure.ts";
import { type Done, type FailureReport, job } from "../job/job.ts";
import type { Run } from "../job/run.ts";
import { script } from "../script/script.ts";
import { crashPoints } from "./crash-points.ts";
import { fakeRun } from "./fake-run.ts";
import { streamed } from "./fake-servers.ts";

type Note = { text: string };
const codec = {
  $type: "test.v1.Ended",
  fromJSON: (json: { text?: unknown }): Note => ({ text: String(json.text ?? "") }),
  toJSON: (note: Note): unknown => note,
};
const happened = eventTypes({ Ended: codec });
const scan = aggregate({
  name: "scan",
  events: happened,
  initial: () => 0,
  evolve: { Ended: (count: number) => count + 1 },
  commands: {
    end: (_: number, { result }: Done<Note, string>) => happened.Ended({ text: result }),
    fail: (_: number, { code }: FailureReport<Note>) => happened.Ended({ text: code }),
  },
});
const dump = script({
  file: new URL("file:///scripts/dump-database.sh"),
  timeoutMs: 1_000,
  variables: ({ text }: Note) => ({ TEXT: text }),
  output: (fields) => ({ path: fields.text("path") }),
});
const jobOf = (work: (input: Note, run: Run<typeof scan>) => Promise<string>) =>
  job(scan, {
    name: "scan.site",
    input: codec,
    of: ({ text }) => text,
    done: "end",
    failed: "fail",
    cancelled: "fail" as never,
    queue: "default",
    tries: 3,
    timeoutMs: 1_000,
    backoffMs: [1_000],
    work,
  });

test("work is run on canned answers, and what it did can be looked at", async () => {
  const run = fakeRun<typeof scan>({
    "dump-database.sh": ({ text }: Note, _: unknown, times: number) => ({
      path: `${text}${times}`,
    }),
  });
  const first = await run.script("dump", dump, "server-1", { text: "x" });
  const second = await run.ask(dump, "server-1", { text: "x" });
  expect([first.path, second.path]).toEqual(["x1", "x2"]);
  expect(run.steps).toEqual(["dump"]);
  expect(run.servers.calls.map(({ step }) => step)).toEqual(["dump", "question 1.1 1"]);
  await expect(run.step("dump", async () => 1)).rejects.toMatchObject({
    code: "step-name-repeated",
  });
});

test("bytes of a transfer flow to whoever downloads them", async () => {
  const run = fakeRun({ "dump-database.sh": streamed({ path: "p" }, "bytes") });
  const done = await run.transfer(
    "dump",
    dump,
    "server-1",
    { text: "x" },
    {
      async download(stream) {
        const parts = await stream.toArray();
        return Buffer.concat(parts).toString();
      },
    },
  );
  expect(done).toEqual({ output: { path: "p" }, received: "bytes" });
});

test("a job whose memory is in its steps passes every crash point", async () => {
  const made = jobOf(async (input, run) => {
    const { path } = await run.script("dump", dump, "server-1", input);
    return run.step("store", async () => `stored ${path}`);
  });
  const answers = { "dump-database.sh": { path: "/tmp/x" } };
  expect(await crashPoints(made, { input: { text: "x" }, answers })).toBe(2);
});

test("a job that fails passes when it fails in the same way after every crash", async () => {
  const made = jobOf(async (_, run) => {
    await run.step("one", async () => 1);
    throw permanent("port-conflict", "in use");
  });
  expect(await crashPoints(made, { input: { text: "x" } })).toBe(1);
});

test("a job that keeps its memory outside of steps is found out", async () => {
  let seen = "";
  const made = jobOf(async (_, run) => {
    seen = "";
    await run.step("look", async () => {
      seen = "something";
    });
    return run.step("tell", async () => seen);
  });
  await expect(crashPoints(made, { input: { text: "x" } })).rejects.toThrow(
    'behind the step "look"',
  );
});
