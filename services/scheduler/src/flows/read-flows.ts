/** Chains and batches as people read them. */
import {
  Batch,
  Chain,
  type GetBatchRequest,
  type GetChainRequest,
  type ListBatchesRequest,
  type ListChainsRequest,
} from "@chom/proto/chom/scheduler/v1/flows";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Cursor, decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, desc, eq, sql } from "drizzle-orm";
import { batchList, chainList } from "./projections.ts";
import { batches, chains } from "./tables.ts";

const batchOf = (row: typeof batches.$inferSelect): Batch => {
  const { completedCount, skippedCount, failedCount, cancelledCount, jobsCount } = row;
  const ended = completedCount + skippedCount + failedCount + cancelledCount;
  const whole = row.status === "finished" ? 100 : 0;
  const percent = jobsCount === 0 ? whole : Math.floor((100 * ended) / jobsCount);
  return Batch.fromPartial({ ...row, percent });
};

export async function getChain(app: App, request: GetChainRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const chainId = fields.id("chainId");
  const position = fields.position();
  fields.done();
  await app.seen(chainList.name, position);
  const whose = and(eq(chains.tenant, tenant), eq(chains.chainId, chainId));
  const [row] = await app.db.select().from(chains).where(whose);
  if (!row) throw notFound("chain", chainId);
  return { chain: Chain.fromPartial(row) };
}

export async function getBatch(app: App, request: GetBatchRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const batchId = fields.id("batchId");
  const position = fields.position();
  fields.done();
  await app.seen(batchList.name, position);
  const whose = and(eq(batches.tenant, tenant), eq(batches.batchId, batchId));
  const [row] = await app.db.select().from(batches).where(whose);
  if (!row) throw notFound("batch", batchId);
  return { batch: batchOf(row) };
}

/** A page of a list, newest first. */
function paged(
  app: App,
  list: string,
  request: ListChainsRequest | ListBatchesRequest,
  tenant: string,
) {
  const fields = fieldsOf(request);
  const pageSize = fields.pageSize();
  fields.done();
  const scope = { tenant, list };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  const tokenOf = (cursor: Cursor) => encodeToken(app.sealer, scope, cursor);
  return { pageSize, after, tokenOf };
}

export async function listChains(app: App, request: ListChainsRequest, { tenant }: Caller) {
  const { pageSize, after, tokenOf } = paged(app, "chains", request, tenant);
  const { createdAt, chainId } = chains;
  const older = after && sql`(${createdAt}, ${chainId}) < (${after.createdAt}, ${after.id})`;
  const found = await app.db
    .select()
    .from(chains)
    .where(and(eq(chains.tenant, tenant), older))
    .orderBy(desc(createdAt), desc(chainId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (row) =>
    tokenOf({ createdAt: row.createdAt, id: row.chainId }),
  );
  return { chains: rows.map((row) => Chain.fromPartial(row)), nextPageToken };
}

export async function listBatches(app: App, request: ListBatchesRequest, { tenant }: Caller) {
  const { pageSize, after, tokenOf } = paged(app, "batches", request, tenant);
  const { createdAt, batchId } = batches;
  const older = after && sql`(${createdAt}, ${batchId}) < (${after.createdAt}, ${after.id})`;
  const found = await app.db
    .select()
    .from(batches)
    .where(and(eq(batches.tenant, tenant), older))
    .orderBy(desc(createdAt), desc(batchId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (row) =>
    tokenOf({ createdAt: row.createdAt, id: row.batchId }),
  );
  return { batches: rows.map(batchOf), nextPageToken };
}
