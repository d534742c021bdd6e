/** Chains and batches act on their own facts: a started link is asked for, and callbacks are, each once. */
import { hashId } from "@chom/shared/aggregate/id";
import type { FlowStep } from "@chom/proto/chom/scheduler/v1/flows";
import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import { type Reactor, reactor } from "@chom/shared/reactor/reactor";
import type { App } from "@chom/shared/service/app";
import { jobControl } from "../job-control.ts";
import { methodOf } from "../job-request.ts";
import { batch, batchEvents, batchSpecOf } from "./batch.ts";
import { chain, chainEvents, chainSpecOf } from "./chain.ts";
import { type Part, startStep } from "./start-step.ts";

/** The site and server of the link before, where a link's input says "$site" and "$server". */
export function filled(
  inputJson: string,
  { siteId, serverId }: { siteId: string; serverId: string },
): string {
  const values: Readonly<Record<string, string>> = { $site: siteId, $server: serverId };
  return JSON.stringify(
    JSON.parse(inputJson || "{}", (_, value: unknown) =>
      typeof value === "string" && Object.hasOwn(values, value) ? values[value] : value,
    ),
  );
}

const partOf = (meta: EventMeta, id: string, more: Partial<Part>): Part => ({
  ...{ tenant: meta.tenant, id, actor: meta.actor, causationId: meta.eventId },
  ...{ reason: "", queue: "", ...more },
});

/** A callback of a flow, once. */
async function call(
  app: App,
  meta: EventMeta,
  { step, what, queue }: { step: FlowStep | undefined; what: string; queue: string },
): Promise<[]> {
  const reason = `${what} of ${meta.id}`;
  if (step) await startStep(app, step, partOf(meta, hashId(meta.id, what), { reason, queue }));
  return [];
}

export const driveChain = (app: App): Reactor =>
  reactor({
    name: "chains",
    aggregate: "chain",
    from: chainEvents,
    on: {
      async ChainLinkStarted({ position, jobId, siteId, serverId }, meta) {
        const { state } = await app.load(chain, meta.tenant, meta.id);
        const spec = chainSpecOf(state);
        const step = spec.links[position];
        if (!step || state.status === "cancelled") return [];
        const reason = `link ${position + 1} of chain ${spec.name || meta.id}`;
        const inputJson = step.jobName ? filled(step.inputJson, { siteId, serverId }) : "";
        const part = partOf(meta, jobId, { reason, queue: spec.queue, chainId: meta.id });
        await startStep(app, { ...step, inputJson }, part);
        return [];
      },
      async ChainFailed(_, meta) {
        const { state } = await app.load(chain, meta.tenant, meta.id);
        const { catch: step, queue } = chainSpecOf(state);
        return call(app, meta, { step, what: "catch", queue });
      },
      async ChainCancelled({ actor, reason }, meta) {
        const { tenant } = meta;
        const { state } = await app.load(chain, tenant, meta.id);
        const step = chainSpecOf(state).links[state.position];
        if (!step) return [];
        const cause = { tenant, actor, causationId: meta.eventId, eventSeed: hashId(meta.eventId) };
        if (step.jobName) {
          const { family } = methodOf(step.jobName);
          const wish = { jobId: state.jobId, family, verb: "cancel", actor, reason };
          const about = { ...wish, aboutSequence: 0n };
          await app.handle(jobControl, state.jobId, "request", about, cause);
        } else await app.handle(batch, state.jobId, "cancel", { actor, reason }, cause);
        return [];
      },
    },
  });

export const driveBatch = (app: App): Reactor => {
  const callback = (what: "then" | "catch" | "finally") => async (_: unknown, meta: EventMeta) => {
    const { state } = await app.load(batch, meta.tenant, meta.id);
    const spec = batchSpecOf(state);
    return call(app, meta, { step: spec[what], what, queue: spec.queue });
  };
  return reactor({
    name: "batches",
    aggregate: "batch",
    from: batchEvents,
    on: {
      BatchFailed: callback("catch"),
      BatchCompleted: callback("then"),
      BatchFinished: callback("finally"),
    },
  });
};
