/** FlowsService: starts, adds to and cancels chains and batches of the caller's tenant. */
import {
  type AddToBatchRequest,
  type CancelBatchRequest,
  type CancelChainRequest,
  type CreateBatchRequest,
  type CreateChainRequest,
  FlowsServiceService,
  type GetBatchRequest,
  type GetChainRequest,
  type ListBatchesRequest,
  type ListChainsRequest,
} from "@chom/proto/chom/scheduler/v1/flows";
import { hashId } from "@chom/shared/aggregate/id";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { batch } from "./batch.ts";
import { chain } from "./chain.ts";
import { getBatch, getChain, listBatches, listChains } from "./read-flows.ts";
import { type Part, startBatch, startChain } from "./start-step.ts";
import { checkedBatch, checkedChain, checkedJobs } from "./step-fields.ts";

export const flowsRpc = (app: App): RpcService => ({
  definition: FlowsServiceService,
  implementation: {
    createChain: unary((request: CreateChainRequest, caller) => createChain(app, request, caller)),
    getChain: unary((request: GetChainRequest, caller) => getChain(app, request, caller)),
    listChains: unary((request: ListChainsRequest, caller) => listChains(app, request, caller)),
    cancelChain: unary((request: CancelChainRequest, caller) => cancelChain(app, request, caller)),
    createBatch: unary((request: CreateBatchRequest, caller) => createBatch(app, request, caller)),
    addToBatch: unary((request: AddToBatchRequest, caller) => addToBatch(app, request, caller)),
    getBatch: unary((request: GetBatchRequest, caller) => getBatch(app, request, caller)),
    listBatches: unary((request: ListBatchesRequest, caller) => listBatches(app, request, caller)),
    cancelBatch: unary((request: CancelBatchRequest, caller) => cancelBatch(app, request, caller)),
  },
});

const partOf = ({ tenant, actor }: Caller, id: string): Part => ({
  ...{ tenant, actor, id, reason: "", causationId: id, queue: "" },
});

async function createChain(app: App, request: CreateChainRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  fields.done();
  const spec = checkedChain(request.spec, caller);
  const chainId = hashId("chain", caller.tenant, requestId);
  return { chainId, position: BigInt(await startChain(app, spec, partOf(caller, chainId))) };
}

async function createBatch(app: App, request: CreateBatchRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  fields.done();
  const spec = checkedBatch(request.spec, caller);
  const batchId = hashId("batch", caller.tenant, requestId);
  const part = { ...partOf(caller, batchId), moreFollow: request.moreFollow };
  return { batchId, position: BigInt(await startBatch(app, spec, part)) };
}

async function addToBatch(app: App, request: AddToBatchRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const batchId = fields.id("batchId");
  const requestId = fields.id("requestId");
  fields.done();
  const jobs = checkedJobs(request.jobs, caller);
  const { tenant, actor } = caller;
  const { state } = await app.load(batch, tenant, batchId);
  if (state.specJson === "") throw notFound("batch", batchId);
  const cause = { tenant, actor, eventSeed: hashId("batch-add", batchId, requestId) };
  const more = { jobs, moreFollow: request.moreFollow };
  const { position } = await app.handle(batch, batchId, "add", more, cause);
  return { position: BigInt(position) };
}

async function cancelChain(app: App, request: CancelChainRequest, { tenant, actor }: Caller) {
  const fields = fieldsOf(request);
  const chainId = fields.id("chainId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { state } = await app.load(chain, tenant, chainId);
  if (state.status === "none") throw notFound("chain", chainId);
  const cause = { tenant, actor, eventSeed: app.newId() };
  const { position } = await app.handle(chain, chainId, "cancel", { actor, reason }, cause);
  return { position: BigInt(position) };
}

async function cancelBatch(app: App, request: CancelBatchRequest, { tenant, actor }: Caller) {
  const fields = fieldsOf(request);
  const batchId = fields.id("batchId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { state } = await app.load(batch, tenant, batchId);
  if (state.specJson === "") throw notFound("batch", batchId);
  const cause = { tenant, actor, eventSeed: app.newId() };
  const { position } = await app.handle(batch, batchId, "cancel", { actor, reason }, cause);
  return { position: BigInt(position) };
}
