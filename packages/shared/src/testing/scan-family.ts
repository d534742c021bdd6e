/** The family that the engine's tests run: one job about one aggregate, on memory ports. */
import { aggregate, type Evolve } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { createDispatch } from "../job/dispatch.ts";
import { jobControl } from "../job/job-control.ts";
import {
  type Abandoned,
  type Begun,
  type Done,
  type FailureReport,
  job,
  type JobDefinition,
  type Postponed,
} from "../job/job.ts";
import type { Run } from "../job/run.ts";
import { type EngineOptions, memoryEngine } from "./memory-engine.ts";

type Note = { text: string };
const codec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: { text?: unknown }): Note => ({ text: String(json.text ?? "") }),
  toJSON: (note: Note): unknown => ({ text: note.text }),
});
const happened = eventTypes({
  Begun: codec("Begun"),
  Noted: codec("Noted"),
  Ended: codec("Ended"),
  Failed: codec("Failed"),
  Dropped: codec("Dropped"),
  Put: codec("Put"),
});
type State = readonly string[];
const add = (state: State, { text }: Note): State => [...state, text];
const evolve: Evolve<State, typeof happened> = {
  Begun: add,
  Noted: add,
  Ended: add,
  Failed: add,
  Dropped: add,
  Put: add,
};
const scan = aggregate({
  name: "backups",
  events: happened,
  initial: (): State => [],
  evolve,
  commands: {
    begin: (_: State, { input }: Begun<Note>) => happened.Begun({ text: input.text }),
    note: (_: State, text: string) => happened.Noted({ text }),
    end: (_: State, { result }: Done<Note, string>) => [
      happened.Ended({ text: result }),
      happened.Noted({ text: "end" }),
    ],
    fail: (_: State, { code, undone, attempts }: FailureReport<Note>) =>
      happened.Failed({ text: `${code} ${undone} ${attempts}` }),
    drop: (_: State, { reason }: Abandoned<Note>) => happened.Dropped({ text: reason }),
    put: (_: State, { code }: Postponed<Note>) => happened.Put({ text: code }),
  },
});
/** What the job does. */
export type Work = (
  input: Note,
  run: Run<typeof scan>,
) => Promise<string | ReturnType<Run["skip"]>>;
/** What it declares otherwise. */
export type Extra = Partial<JobDefinition<typeof scan, Note, "end", string>>;

const scanJob = (work: Work, extra: Extra = {}) =>
  job(scan, {
    name: "scan.site",
    input: codec("Input"),
    of: () => "site-1",
    started: "begin",
    done: "end",
    failed: "fail",
    cancelled: "drop",
    deferred: "put",
    queue: "default",
    tries: 3,
    timeoutMs: 60_000,
    backoffMs: [20_000],
    work,
    ...extra,
  });

/** A process with that job: dispatching, running, controlling, and looking at what became of it. */
export function scanFamily(work: Work, extra: Extra = {}, options: EngineOptions = {}) {
  const made = scanJob(work, extra);
  const host = memoryEngine([made], options);
  const dispatch = createDispatch(host.engine);
  const send = (jobId = "job-1", text = "x", more = {}) =>
    dispatch({
      job: made,
      jobId,
      tenant: "tenant-1",
      actor: "tester",
      input: { text },
      options: more,
    });
  const names = async (jobId = "job-1") => (await host.journal(jobId)).map(({ name }) => name);
  const facts = async () => {
    const entries = await host.world.log.load("EVENTS", "evt.tenant-1.backups.site-1");
    return entries.map(({ type, body }) => `${type.split(".").at(-1)} ${JSON.parse(body).text}`);
  };
  const control = async (verb: string, jobId = "job-1", eventId = `wish-${verb}`) => {
    const meta = { tenant: "tenant-1", eventId } as never;
    const wish = { family: "backup", jobId, verb, actor: "op", reason: "because" };
    await jobControl(host.engine).on["JobControlRequested"]?.(wish, meta);
  };
  return { ...host, made, dispatch, send, names, facts, control };
}
