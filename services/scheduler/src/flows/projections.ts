/** Folds chains, batches and refusals into read models. */
import { JobRefused } from "@chom/proto/chom/jobs/v1/control";
import type { BatchFinished } from "@chom/proto/chom/scheduler/v1/flows";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Transaction } from "@chom/shared/projection/database";
import {
  type ProjectedMeta,
  type Projection,
  projection,
} from "@chom/shared/projection/projection";
import { and, eq, sql } from "drizzle-orm";
import { batchEvents } from "./batch.ts";
import { chainEvents } from "./chain.ts";
import { batches, chains, refusedJobs } from "./tables.ts";

type ChainChange = Partial<typeof chains.$inferInsert>;

const ofChain = ({ tenant, id }: ProjectedMeta, tx: Transaction, set: ChainChange) =>
  tx
    .update(chains)
    .set(set)
    .where(and(eq(chains.tenant, tenant), eq(chains.chainId, id)));

export const chainList: Projection = projection({
  name: "chains",
  source: { stream: "EVENTS", aggregate: "chain" },
  rebuild: { tables: [chains] },
  from: chainEvents,
  on: {
    ChainStarted: ({ name, linksCount, batchId }, { tenant, id: chainId, time }, tx) =>
      tx
        .insert(chains)
        .values({ tenant, chainId, name, linksCount, batchId, status: "running", createdAt: time })
        .onConflictDoNothing(),
    ChainLinkStarted: ({ position, jobId }, meta, tx) =>
      ofChain(meta, tx, { position, jobId, status: "running" }),
    ChainCompleted: (_, meta, tx) => ofChain(meta, tx, { status: "completed" }),
    ChainFailed: (_, meta, tx) => ofChain(meta, tx, { status: "failed" }),
    ChainCancelled: (_, meta, tx) => ofChain(meta, tx, { status: "cancelled" }),
  },
});

const ofBatch = ({ tenant, id, time }: ProjectedMeta, tx: Transaction, set: object) =>
  tx
    .update(batches)
    .set({ ...set, toldAt: time })
    .where(and(eq(batches.tenant, tenant), eq(batches.batchId, id)));

const countsOf = (told: BatchFinished) => {
  const { completedCount, skippedCount, failedCount, cancelledCount } = told;
  return { completedCount, skippedCount, failedCount, cancelledCount };
};

export const batchList: Projection = projection({
  name: "batches",
  source: { stream: "EVENTS", aggregate: "batch" },
  rebuild: { tables: [batches] },
  from: batchEvents,
  on: {
    BatchCreated: ({ name, allowFailures, chainId }, { tenant, id: batchId, time }, tx) =>
      tx
        .insert(batches)
        .values({
          ...{ tenant, batchId, name, allowFailures, chainId, status: "running" },
          ...{ createdAt: time, toldAt: time },
        })
        .onConflictDoNothing(),
    BatchJobsAdded: ({ jobsCount }, meta, tx) =>
      ofBatch(meta, tx, { jobsCount: sql`${batches.jobsCount} + ${jobsCount}` }),
    BatchProgressed: (told, meta, tx) => ofBatch(meta, tx, countsOf(told)),
    BatchCancelled: (_, meta, tx) => ofBatch(meta, tx, { status: "cancelling", cancelled: true }),
    BatchFinished: (told, meta, tx) => ofBatch(meta, tx, { ...countsOf(told), status: "finished" }),
  },
});

export const refusalList: Projection = projection({
  name: "refused-jobs",
  source: { stream: "EVENTS", aggregate: "job-refusal" },
  rebuild: { tables: [refusedJobs] },
  from: eventTypes({ JobRefused }),
  on: {
    JobRefused: ({ jobId, batchId, failure }, { tenant, time: refusedAt }, tx) =>
      tx
        .insert(refusedJobs)
        .values({ tenant, jobId, batchId, code: failure?.code ?? "", refusedAt })
        .onConflictDoNothing(),
  },
});
