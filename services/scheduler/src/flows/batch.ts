/** A batch: jobs side by side, counted as a set. What its jobs' ends lead to is decided here. */
import {
  BatchCancelled,
  BatchCompleted,
  BatchCreated,
  BatchFailed,
  BatchFinished,
  BatchJobsAdded,
  BatchProgressed,
  BatchSpec,
  FlowStep,
} from "@chom/proto/chom/scheduler/v1/flows";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";
import { conflict, rejected } from "@chom/shared/failure/failure";

export const batchEvents = eventTypes({
  BatchCreated,
  BatchJobsAdded,
  BatchProgressed,
  BatchFailed,
  BatchCancelled,
  BatchCompleted,
  BatchFinished,
});

/** How many jobs of the set are in which end; every job is in one of them or has not ended. */
export type Tally = {
  readonly completed: number;
  readonly skipped: number;
  readonly failed: number;
  readonly cancelled: number;
};

export type BatchState = {
  readonly specJson: string;
  readonly chainId: string;
  readonly allowFailures: boolean;
  /** Lists of steps as JSON, in the order in which they came. */
  readonly parts: readonly string[];
  readonly jobsCount: number;
  readonly moreFollow: boolean;
  readonly requested: number;
  readonly tally: Tally;
  readonly failedJobId: string;
  readonly cancel: BatchCancelled | undefined;
  readonly finished: boolean;
};

const none: Tally = { completed: 0, skipped: 0, failed: 0, cancelled: 0 };
const tallyIn = (counts: Omit<BatchFinished, never>): Tally => ({
  completed: counts.completedCount,
  skipped: counts.skippedCount,
  failed: counts.failedCount,
  cancelled: counts.cancelledCount,
});

const evolve: Evolve<BatchState, typeof batchEvents> = {
  BatchCreated: (state, { specJson, allowFailures, chainId }) => ({
    ...state,
    ...{ specJson, allowFailures, chainId },
  }),
  BatchJobsAdded: (state, { jobsJson, jobsCount, moreFollow }) => ({
    ...state,
    parts: [...state.parts, jobsJson],
    jobsCount: state.jobsCount + jobsCount,
    moreFollow,
  }),
  BatchProgressed: (state, counts) => ({
    ...state,
    requested: counts.requestedCount,
    tally: tallyIn(counts),
  }),
  BatchFailed: (state, { jobId }) => ({ ...state, failedJobId: jobId }),
  BatchCancelled: (state, cancel) => ({ ...state, cancel }),
  BatchCompleted: (state) => state,
  BatchFinished: (state, counts) => ({ ...state, finished: true, tally: tallyIn(counts) }),
};

/** The steps of a batch, in order; the place of one is the seed of its job's id. */
export const stepsOf = ({ parts }: BatchState): FlowStep[] =>
  parts.flatMap((part) => (JSON.parse(part) as unknown[]).map((step) => FlowStep.fromJSON(step)));

export const batchSpecOf = ({ specJson }: BatchState): BatchSpec =>
  BatchSpec.fromJSON(JSON.parse(specJson));

/** The id of a member's job, or of its chain. */
export const memberId = (batchId: string, index: number): string =>
  hashId("batch-job", batchId, index);

/** In one event at most so much, sealed and in base64 still below the log's limit. */
const partBytes = 96 * 1024;

/** Steps as parts that each fit into an event. */
export function partsOf(steps: readonly FlowStep[]): { json: string; count: number }[] {
  const parts: { json: string; count: number }[] = [];
  let open: string[] = [];
  let bytes = 0;
  const close = () => {
    if (open.length > 0) parts.push({ json: `[${open.join(",")}]`, count: open.length });
    open = [];
    bytes = 0;
  };
  for (const step of steps) {
    const json = JSON.stringify(FlowStep.toJSON(step));
    if (bytes + json.length > partBytes) close();
    open.push(json);
    bytes += Buffer.byteLength(json) + 1;
  }
  close();
  return parts;
}

type Added = { readonly jobs: readonly FlowStep[]; readonly moreFollow: boolean };

function added({ jobs, moreFollow }: Added) {
  const parts = partsOf(jobs);
  // An empty call may be the one that says that nothing follows.
  if (parts.length === 0) parts.push({ json: "[]", count: 0 });
  return parts.map(({ json, count }, index) =>
    batchEvents.BatchJobsAdded({
      ...{ jobsJson: json, jobsCount: count },
      moreFollow: moreFollow || index + 1 < parts.length,
    }),
  );
}

type Begin = Added & {
  readonly specJson: string;
  readonly spec: BatchSpec;
  readonly chainId: string;
};

/** What is known of the jobs now. */
export type Seen = {
  readonly requested: number;
  readonly tally: Tally;
  /** One that failed and whose facts are told, when any did. */
  readonly failedJobId: string;
  /** One that failed, told or not: the rest need not wait to be cancelled. */
  readonly failingJobId: string;
  /** A progress was told less than a second ago. */
  readonly recently: boolean;
};

const endedOf = ({ completed, skipped, failed, cancelled }: Tally): number =>
  completed + skipped + failed + cancelled;

function countsOf(tally: Tally) {
  return {
    completedCount: tally.completed,
    skippedCount: tally.skipped,
    failedCount: tally.failed,
    cancelledCount: tally.cancelled,
  };
}

const commands = {
  /** The same again is the same batch; another one under the id is `conflict` "already-exists". */
  create(state: BatchState, begin: Begin) {
    const { specJson, spec, chainId } = begin;
    if (state.specJson === specJson) return [];
    if (state.specJson !== "") throw conflict("already-exists", "the request made another batch");
    const { name, allowFailures } = spec;
    return [batchEvents.BatchCreated({ specJson, name, allowFailures, chainId }), ...added(begin)];
  },
  add(state: BatchState, more: Added) {
    if (state.finished || state.cancel) {
      throw rejected(
        "batch-ended",
        "the batch has finished or was cancelled: nothing can be added",
      );
    }
    return added(more);
  },
  cancel(state: BatchState, { actor, reason }: { actor: string; reason: string }) {
    if (state.cancel) return [];
    if (state.finished) throw rejected("batch-ended", "the batch has finished already");
    return batchEvents.BatchCancelled({ actor, reason });
  },
  /** Total: what the jobs' ends lead to, told as often as one likes. */
  look(state: BatchState, { requested, tally, failedJobId, failingJobId, recently }: Seen) {
    if (state.finished || state.specJson === "") return [];
    const fails = failedJobId !== "" && state.failedJobId === "";
    const cancels = failingJobId !== "" && !state.allowFailures && !state.cancel;
    const isCancelled = cancels || state.cancel !== undefined;
    const isAllThere = requested >= state.jobsCount && !state.moreFollow;
    const isOver = endedOf(tally) >= requested && (isAllThere || isCancelled);
    const isNew =
      requested !== state.requested || JSON.stringify(tally) !== JSON.stringify(state.tally);
    const isWorthTelling = isNew && (!recently || isOver || requested !== state.requested);
    const succeeded = isAllThere && tally.completed + tally.skipped >= state.jobsCount;
    const counts = countsOf(tally);
    return [
      ...(isWorthTelling
        ? [batchEvents.BatchProgressed({ requestedCount: requested, ...counts })]
        : []),
      ...(fails ? [batchEvents.BatchFailed({ jobId: failedJobId })] : []),
      ...(cancels
        ? [batchEvents.BatchCancelled({ actor: "system", reason: `job ${failingJobId} failed` })]
        : []),
      ...(isOver && succeeded ? [batchEvents.BatchCompleted({})] : []),
      ...(isOver ? [batchEvents.BatchFinished(counts)] : []),
    ];
  },
};

export const batch = aggregate({
  name: "batch",
  events: batchEvents,
  initial: (): BatchState => ({
    ...{ specJson: "", chainId: "", allowFailures: false, parts: [], jobsCount: 0 },
    ...{ moreFollow: true, requested: 0, tally: none, failedJobId: "" },
    ...{ cancel: undefined, finished: false },
  }),
  evolve,
  commands,
});
