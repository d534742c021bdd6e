/** A batch of ten thousand real jobs, on a real broker and a real Postgres. */
import { readFileSync } from "node:fs";
import { BatchSpec, FlowsServiceService, FlowStep } from "@chom/proto/chom/scheduler/v1/flows";
import { type IssueCertificateRequest, SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectRpc } from "@chom/shared/rpc/client";
import { unary } from "@chom/shared/rpc/unary";
import { Secret } from "@chom/shared/secrets/secret";
import type { App, Cast } from "@chom/shared/service/app";
import { type Running, startService } from "@chom/shared/service/start";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { type Note, takeNote, toyFamily } from "@chom/shared/testing/toy-family";
import { eq } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jobList } from "../projections.ts";
import { jobs } from "../tables.ts";
import { keepFlows } from "./keep-flows.ts";

const jobsCount = 10_000;
const pageSize = 1_000;

/** Each note is about a site of its own: ten thousand on one would measure the history of that site. */
const takeApart = { ...takeNote, of: ({ text }: Note) => text };
const toys = toyFamily(new URL("./none", import.meta.url));

function castOf(given: App): Cast {
  const issueCertificate = unary(async (request: IssueCertificateRequest, { tenant, actor }) => {
    const { requestId: jobId, reason: text } = request;
    const dispatched = await given.dispatch({
      job: takeApart,
      jobId,
      input: { text },
      tenant,
      actor,
    });
    return { jobId, position: BigInt(dispatched.position) };
  });
  return {
    jobs: [takeApart],
    rpc: [{ definition: SslServiceService, implementation: { issueCertificate } }],
  };
}

let ground: Ground;
let toy: Running;
let scheduler: Running;
let app: App;

beforeAll(async () => {
  ground = await startGround();
  const quiet = { CHOM_LOG_LEVEL: "warn" };
  toy = await startService(
    { ...toys, cast: castOf },
    {
      ...(await ground.environment("ssl")),
      ...quiet,
    },
  );
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        const { projections, ...flows } = keepFlows(given);
        return { ...flows, projections: [jobList, ...projections] };
      },
    },
    { ...(await ground.environment("scheduler")), ...quiet },
  );
});
afterAll(async () => {
  await scheduler?.stop();
  await toy?.stop();
  await ground?.stop();
});

const noteOf = (n: number) =>
  FlowStep.fromPartial({ jobName: "certificate.issue", inputJson: `{"reason":"note-${n}"}` });

test("ten thousand jobs run once each, and the batch completes and finishes once", async () => {
  const { calls, close } = connectRpc(FlowsServiceService, {
    address: scheduler.address,
    tls: { ca: readFileSync(ground.caFile) },
    token: (
      (token) => () =>
        token
    )(new Secret(await ground.issue("large"))),
  });
  const steps = Array.from({ length: jobsCount }, (_, n) => noteOf(n));
  const page = (at: number) => steps.slice(at * pageSize, (at + 1) * pageSize);
  const spec = BatchSpec.fromPartial({ name: "large", jobs: page(0) });
  const { batchId } = await calls.createBatch({ requestId: "large", spec, moreFollow: true });
  for (let at = 1; at * pageSize < jobsCount; at += 1) {
    const moreFollow = (at + 1) * pageSize < jobsCount;
    const more = { batchId, requestId: `page-${at}`, jobs: page(at), moreFollow };
    await calls.addToBatch(more);
    // Twice is once.
    if (at === 1) await calls.addToBatch(more);
  }
  const read = async () => (await calls.getBatch({ batchId, minPosition: 0n })).batch;
  await expect
    .poll(async () => (await read())?.status, { timeout: 880_000, interval: 500 })
    .toBe("finished");
  expect(await read()).toMatchObject({
    ...{ jobsCount, completedCount: jobsCount, failedCount: 0, percent: 100, cancelled: false },
  });
  const rows = await app.db.select().from(jobs).where(eq(jobs.batchId, batchId));
  expect(new Set(rows.map(({ jobId }) => jobId)).size).toBe(jobsCount);
  expect(rows.every(({ attempts }) => attempts === 1)).toBe(true);

  const history = await app.log.load("EVENTS", `evt.large.batch.${batchId}`);
  const count = (name: string) => history.filter(({ type }) => type.endsWith(`.${name}`)).length;
  expect([count("BatchCompleted"), count("BatchFinished"), count("BatchFailed")]).toEqual([
    1, 1, 0,
  ]);
  // Told at most once a second and once a page: it does not grow with the jobs.
  expect(count("BatchProgressed")).toBeLessThan(400);
  expect(Math.max(...history.map(({ body }) => body.length))).toBeLessThan(200_000);
  close();
  // A minute or two on a quiet machine; what is bounded is a hang.
}, 900_000);
