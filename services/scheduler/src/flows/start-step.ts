/** Starting what a step of a chain or a batch says: a job, a batch or a chain. Twice is once. */
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { BatchSpec, ChainSpec, type FlowStep } from "@chom/proto/chom/scheduler/v1/flows";
import { hashId } from "@chom/shared/aggregate/id";
import type { App } from "@chom/shared/service/app";
import { requestJob } from "../job-request.ts";
import { batch } from "./batch.ts";
import { chain } from "./chain.ts";

export type Part = {
  readonly tenant: string;
  readonly id: string;
  readonly actor: string;
  readonly reason: string;
  readonly causationId: string;
  /** Of steps that name none. */
  readonly queue: string;
  readonly chainId?: string;
  readonly batchId?: string;
};

/** Starts a chain under an id; answers the position of its beginning. */
export async function startChain(app: App, spec: ChainSpec, part: Part): Promise<number> {
  const { tenant, id: chainId, actor, causationId, batchId = "" } = part;
  const specJson = JSON.stringify(ChainSpec.toJSON(spec));
  const cause = { tenant, actor, causationId, eventSeed: hashId("chain", chainId, specJson) };
  const begin = { chainId, specJson, spec, batchId };
  return (await app.handle(chain, chainId, "start", begin, cause)).position;
}

/** Starts a batch under an id; answers the position of its beginning. */
export async function startBatch(
  app: App,
  spec: BatchSpec,
  part: Part & { readonly moreFollow?: boolean },
): Promise<number> {
  const { tenant, id, actor, causationId, chainId = "", moreFollow = false } = part;
  const specJson = JSON.stringify(BatchSpec.toJSON({ ...spec, jobs: [] }));
  const cause = { tenant, actor, causationId, eventSeed: hashId("batch", id, specJson) };
  const begin = { specJson, spec, chainId, jobs: spec.jobs, moreFollow };
  return (await app.handle(batch, id, "create", begin, cause)).position;
}

/** Starts a step. Its options stand over the flow's queue. */
export async function startStep(app: App, step: FlowStep, part: Part): Promise<void> {
  if (step.batch) return void (await startBatch(app, step.batch, part));
  if (step.chain) return void (await startChain(app, step.chain, part));
  const { tenant, id: jobId, actor, reason, causationId, queue, chainId, batchId } = part;
  const options = JobOptions.fromPartial(step.options ?? {});
  await requestJob(app, {
    ...{ tenant, jobId, actor, reason, causationId, jobName: step.jobName },
    ...(chainId ? { chainId } : {}),
    ...(batchId ? { batchId } : {}),
    inputJson: step.inputJson || "{}",
    options: { ...options, queue: options.queue || queue },
  });
}
