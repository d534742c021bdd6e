import { expect, test } from "vitest";
import { aggregate, type Evolve } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { given } from "../aggregate/given.ts";
import { type Done, type FailureReport, type Abandoned, type Begun, job } from "./job.ts";

type Note = { text: string };
const noteCodec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: { text?: unknown }): Note => ({ text: String(json.text ?? "") }),
  toJSON: (note: Note): unknown => note,
});
const happened = eventTypes({ Started: noteCodec("Started"), Ended: noteCodec("Ended") });
type State = { status: "absent" | "running" | "ended" };
const evolve: Evolve<State, typeof happened> = {
  Started: () => ({ status: "running" }),
  Ended: (state, data) => (data.text === "" ? state : { status: "ended" }),
};
const commands = {
  begin: (_: State, { input }: Begun<Note>) => happened.Started(input),
  end: (state: State, { result }: Done<Note, { length: number }>) =>
    state.status === "running" ? happened.Ended({ text: String(result.length) }) : [],
  fail: (_: State, { code }: FailureReport<Note>) => happened.Ended({ text: code }),
  abandon: (_: State, { reason }: Abandoned<Note>) => happened.Ended({ text: reason }),
};
const scan = aggregate({
  name: "scan",
  events: happened,
  initial: (): State => ({ status: "absent" }),
  evolve,
  commands,
});

const base = {
  name: "scan.site",
  input: noteCodec("Input"),
  of: ({ text }: Note) => text,
  started: "begin",
  done: "end",
  failed: "fail",
  cancelled: "abandon",
  queue: "default",
  tries: 3,
  timeoutMs: 1_000,
  backoffMs: [1_000],
} as const;

const facts = { jobId: "j", at: new Date(0), tenant: "t", actor: "a", durationMs: 1 };

test("a job's work must return what its done command takes", () => {
  const made = job(scan, {
    ...base,
    async work({ text }, run) {
      if (text === "") return run.skip("nothing to scan");
      return { length: await run.step("count", async () => text.length) };
    },
  });
  expect(made.dispatch({ text: "x" }).job).toBe(made);
  job(scan, {
    ...base,
    // @ts-expect-error a result without `length` is not what `end` takes
    work: async () => ({ size: 1 }),
  });
  // @ts-expect-error `nothing` is no command of the aggregate
  job(scan, { ...base, failed: "nothing", work: async () => ({ length: 1 }) });
});

test("a running scan ends once", () => {
  const done = { ...facts, input: { text: "x" }, result: { length: 3 } };
  const running = given(scan, happened.Started({ text: "x" }));
  expect(running.when("end", done)).toEqual([{ name: "Ended", data: { text: "3" } }]);
  const ended = given(scan, happened.Started({ text: "x" }), happened.Ended({ text: "3" }));
  expect(ended.when("end", done)).toEqual([]);
});
