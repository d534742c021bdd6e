/** A chain: jobs one after another. What a link's end leads to is decided here, whatever tells of it and how often. */
import {
  ChainCancelled,
  ChainCompleted,
  ChainFailed,
  ChainLinkSkipped,
  ChainLinkStarted,
  ChainSpec,
  ChainStarted,
  SkipPolicy,
} from "@chom/proto/chom/scheduler/v1/flows";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";
import { conflict, rejected } from "@chom/shared/failure/failure";

export const chainEvents = eventTypes({
  ChainStarted,
  ChainLinkStarted,
  ChainLinkSkipped,
  ChainCompleted,
  ChainFailed,
  ChainCancelled,
});

type ChainStatus = "none" | "running" | "completed" | "failed" | "cancelled";

export type ChainState = {
  readonly specJson: string;
  readonly batchId: string;
  readonly status: ChainStatus;
  readonly position: number;
  /** Of the link that runs, or ran last. */
  readonly jobId: string;
};

const evolve: Evolve<ChainState, typeof chainEvents> = {
  ChainStarted: (state, { specJson, batchId }) => ({
    ...state,
    ...{ specJson, batchId, status: "running" },
  }),
  ChainLinkStarted: (state, { position, jobId }) => ({
    ...state,
    ...{ position, jobId, status: "running" },
  }),
  ChainLinkSkipped: (state) => state,
  ChainCompleted: (state) => ({ ...state, status: "completed" }),
  ChainFailed: (state) => ({ ...state, status: "failed" }),
  ChainCancelled: (state) => ({ ...state, status: "cancelled" }),
};

/** The chain as it was asked for. */
export const chainSpecOf = ({ specJson }: ChainState): ChainSpec =>
  ChainSpec.fromJSON(JSON.parse(specJson));

/** The id of a link's job: the same for whoever derives it. */
export const linkId = (chainId: string, position: number): string =>
  hashId("chain-link", chainId, position);

/** How a link's job, or its batch, ended. */
export type LinkEnd = {
  readonly chainId: string;
  readonly jobId: string;
  readonly outcome: "completed" | "skipped" | "failed" | "cancelled" | "refused";
  readonly siteId: string;
  readonly serverId: string;
};

type Begin = {
  readonly chainId: string;
  readonly specJson: string;
  readonly spec: ChainSpec;
  readonly batchId: string;
};

const commands = {
  /** The same again is the same chain; another spec under the id is `conflict` "already-exists". */
  start(state: ChainState, { chainId, specJson, spec, batchId }: Begin) {
    if (state.specJson === specJson) return [];
    if (state.status !== "none") throw conflict("already-exists", "the request made another chain");
    const { name, links } = spec;
    const jobId = linkId(chainId, 0);
    return [
      chainEvents.ChainStarted({ specJson, name, linksCount: links.length, batchId }),
      chainEvents.ChainLinkStarted({ position: 0, jobId, siteId: "", serverId: "" }),
    ];
  },
  /** Total: the end of any but the link that runs, or told again, changes nothing. A failed one may end well yet. */
  end(state: ChainState, { chainId, jobId, outcome, siteId, serverId }: LinkEnd) {
    const isGood = outcome === "completed" || outcome === "skipped";
    const waits = state.status === "running" || (state.status === "failed" && isGood);
    if (!waits || jobId !== state.jobId) return [];
    const { position } = state;
    if (!isGood) return chainEvents.ChainFailed({ position, jobId, outcome });
    const { links, onSkip } = chainSpecOf(state);
    const skipped =
      outcome === "skipped" ? [chainEvents.ChainLinkSkipped({ position, jobId })] : [];
    const isLast = position + 1 >= links.length;
    const stops = outcome === "skipped" && onSkip === SkipPolicy.STOP;
    if (isLast || stops) {
      return [...skipped, chainEvents.ChainCompleted({ stopped: stops && !isLast })];
    }
    const next = { position: position + 1, jobId: linkId(chainId, position + 1), siteId, serverId };
    return [...skipped, chainEvents.ChainLinkStarted(next)];
  },
  cancel(state: ChainState, { actor, reason }: { actor: string; reason: string }) {
    if (state.status === "cancelled") return [];
    if (state.status === "completed") throw rejected("chain-ended", "the chain has ended already");
    return chainEvents.ChainCancelled({ actor, reason });
  },
};

export const chain = aggregate({
  name: "chain",
  events: chainEvents,
  initial: (): ChainState => ({
    specJson: "",
    batchId: "",
    status: "none",
    position: 0,
    jobId: "",
  }),
  evolve,
  commands,
});
