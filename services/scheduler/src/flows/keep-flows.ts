/** Chains and batches as a part of the scheduler. */
import type { App, Cast } from "@chom/shared/service/app";
import { flowsRpc } from "./flows-rpc.ts";
import { lookAtBatches, lookAtChains } from "./look-at-flows.ts";
import { batchList, chainList, refusalList } from "./projections.ts";
import { driveBatch, driveChain } from "./reactors.ts";

const everyMs = 300;

export const keepFlows = (
  app: App,
): Required<Pick<Cast, "projections" | "reactors" | "rpc" | "ticks">> => ({
  projections: [chainList, batchList, refusalList],
  reactors: [driveChain(app), driveBatch(app)],
  rpc: [flowsRpc(app)],
  ticks: [
    { name: "chains", everyMs, run: (signal) => lookAtChains(app, signal) },
    { name: "batches", everyMs, run: (signal) => lookAtBatches(app, signal) },
  ],
});
