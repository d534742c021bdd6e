/** A toy job family for tests of services: notes on a site, taken by a job that does as its text says. */
import { type IssueCertificateRequest, SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { aggregate, type Evolve } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { permanent } from "../failure/failure.ts";
import { type Abandoned, type Done, type FailureReport, job } from "../job/job.ts";
import { type RpcService, unary } from "../rpc/unary.ts";
import type { Service } from "../service/start.ts";

export type Note = { text: string };
const codec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: { text?: unknown }): Note => ({ text: String(json.text ?? "") }),
  toJSON: (note: Note): unknown => ({ text: note.text }),
});

const happened = eventTypes({ Noted: codec("Noted"), NoteFailed: codec("NoteFailed") });
type Notes = { count: number };
const evolve: Evolve<Notes, typeof happened> = {
  Noted: ({ count }) => ({ count: count + 1 }),
  NoteFailed: (notes) => notes,
};
const commands = {
  note: (_: Notes, { input, result }: Done<Note, { length: number }>) =>
    happened.Noted({ text: `${input.text} ${result.length}` }),
  fail: (_: Notes, { code }: FailureReport<Note>) => happened.NoteFailed({ text: code }),
  abandon: (_: Notes, { reason }: Abandoned<Note>) => happened.NoteFailed({ text: reason }),
};
const notes = aggregate({
  name: "certificate",
  events: happened,
  initial: (): Notes => ({ count: 0 }),
  evolve,
  commands,
});

/** Text `wait` goes on until it is stopped, `fail` fails for good; any other is noted. */
export const takeNote = job(notes, {
  name: "note.take",
  input: codec("Input"),
  of: () => "site-1",
  site: () => "site-1",
  done: "note",
  failed: "fail",
  cancelled: "abandon",
  queue: "default",
  tries: 2,
  timeoutMs: 60_000,
  backoffMs: [1_000],
  async work({ text }, run) {
    run.progress(10, "begun");
    if (text === "fail") throw permanent("unsupported-type", "no note can be taken of this");
    if (text === "wait") {
      await new Promise((_, reject) =>
        run.signal.addEventListener("abort", () => reject(run.signal.reason), { once: true }),
      );
    }
    return { length: await run.step("count", async () => text.length) };
  },
});

const unused = unary(async () => {
  throw permanent("unsupported-type", "not part of the toy");
});

/** A service named `ssl` whose IssueCertificate takes a note: the reason is its text. */
export const toyFamily = (migrations: URL): Service<Record<never, never>> => ({
  name: "ssl",
  migrations,
  cast: (app) => {
    const rpc: RpcService = {
      definition: SslServiceService,
      implementation: {
        issueCertificate: unary(async (request: IssueCertificateRequest, { tenant, actor }) => {
          const { requestId: jobId, reason } = request;
          const input = { text: reason };
          const options = { tags: ["toy"] };
          const done = await app.dispatch({ job: takeNote, jobId, input, tenant, actor, options });
          return { jobId, position: BigInt(done.position) };
        }),
        renewCertificate: unused,
        getCertificate: unused,
        listCertificates: unused,
      },
    };
    return { jobs: [takeNote], rpc: [rpc] };
  },
});
