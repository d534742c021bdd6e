/** Where a job is in its life, folded from its journal. Pure. */
import type {
  DecidedEvent,
  FailureInfo,
  JobQueued,
  Sealed,
} from "@chom/proto/chom/jobs/v1/journal";
import type { JournalEntry } from "./journal.ts";

type Named<Name extends JournalEntry["name"]> = Extract<JournalEntry, { name: Name }>;

export type StepState = {
  readonly result: Sealed | undefined;
  readonly undoable: boolean;
};

export type End = {
  readonly name: "JobCompleted" | "JobSkipped" | "JobFailed" | "JobCancelled";
  readonly sequence: number;
};

export type JobState = {
  /** Sequence of the last entry; 0 when there is none. */
  readonly sequence: number;
  readonly queued:
    | (JobQueued & {
        readonly at: Date;
        readonly sequence: number;
        readonly correlationId: string;
        readonly traceparent: string;
      })
    | undefined;
  readonly generation: number;
  /** Attempts spent in this generation; deferred, parked and released ones are not. */
  readonly attempts: number;
  readonly everStarted: boolean;
  /** Sequence of the last JobStarted ever; 0: none. A newer one than one's own means fenced. */
  readonly startedSequence: number;
  /** The attempt that has begun and has no outcome yet. */
  readonly running: { readonly sequence: number; readonly attempt: number } | undefined;
  /** Finished steps of this generation that were not undone. */
  readonly steps: ReadonlyMap<string, StepState>;
  /** How often each step finished, in all generations. */
  readonly finishes: ReadonlyMap<string, number>;
  /** The lease waited for, empty when none. */
  readonly waitingFor: string;
  /** Since when it waits for anything before its next start. */
  readonly waitingSince: Date | undefined;
  /** Trace context of the last JobStarted; empty when there is none. */
  readonly startedTraceparent: string;
  /** Not before this. */
  readonly dueAt: Date | undefined;
  /** Deferrals in a row with the same code. */
  readonly deferrals: { readonly code: string; readonly count: number };
  readonly parked: FailureInfo | undefined;
  readonly cancel: { readonly actor: string; readonly reason: string } | undefined;
  /** A worker has seen the wish to cancel. */
  readonly cancelAcknowledged: boolean;
  /** Attempts of this generation that ended in something nobody foresaw. */
  readonly exceptions: number;
  /** Decided to fail; undos may be under way. */
  readonly ending: FailureInfo | undefined;
  /** How often a run began only to undo. */
  readonly undoRuns: number;
  readonly undoFailed: boolean;
  /** Servers on which a script was begun whose end is not known. */
  readonly openServers: ReadonlySet<string>;
  readonly end: End | undefined;
  readonly failure: FailureInfo | undefined;
  readonly forgotten: boolean;
  /** Everything that outcomes decided, in order; what of it is missing in the event log must be appended. */
  readonly decided: readonly DecidedEvent[];
};

export const noJob: JobState = {
  sequence: 0,
  queued: undefined,
  generation: 1,
  attempts: 0,
  everStarted: false,
  startedSequence: 0,
  running: undefined,
  steps: new Map(),
  finishes: new Map(),
  waitingFor: "",
  waitingSince: undefined,
  startedTraceparent: "",
  dueAt: undefined,
  deferrals: { code: "", count: 0 },
  parked: undefined,
  cancel: undefined,
  cancelAcknowledged: false,
  exceptions: 0,
  ending: undefined,
  undoRuns: 0,
  undoFailed: false,
  openServers: new Set(),
  end: undefined,
  failure: undefined,
  forgotten: false,
  decided: [],
};

const none = { code: "", count: 0 };

/** True for what nobody foresaw: an error that is no Failure, or an outcome that stayed unknown. */
export const isException = ({ code, kind }: Pick<FailureInfo, "code" | "kind">): boolean =>
  code === "unexpected" || kind === "unknown";

const without = <V>(map: ReadonlyMap<string, V>, key: string): ReadonlyMap<string, V> =>
  new Map([...map].filter(([each]) => each !== key));

function started(state: JobState, entry: Named<"JobStarted">): JobState {
  const { data, meta } = entry;
  const undoing = state.ending !== undefined || state.cancel !== undefined;
  return {
    ...state,
    attempts: undoing ? state.attempts : data.attempt,
    everStarted: true,
    startedSequence: meta.position,
    startedTraceparent: entry.traceparent,
    running: { sequence: meta.position, attempt: data.attempt },
    waitingFor: "",
    waitingSince: undefined,
    dueAt: undefined,
    undoRuns: state.undoRuns + (undoing ? 1 : 0),
    decided: [...state.decided, ...data.events],
  };
}

const opened = (state: JobState, serverIds: readonly string[]): JobState =>
  serverIds.length === 0
    ? state
    : { ...state, openServers: new Set([...state.openServers, ...serverIds]) };

/** An attempt that ended without being spent. */
const unspent = (state: JobState): JobState => ({
  ...state,
  attempts: state.running && !state.cancel ? state.running.attempt - 1 : state.attempts,
  running: undefined,
});

const ended = (state: JobState, end: End, events: readonly DecidedEvent[] = []): JobState => ({
  ...state,
  end,
  running: undefined,
  parked: undefined,
  waitingFor: "",
  dueAt: undefined,
  decided: [...state.decided, ...events],
});

function stepped(state: JobState, entry: Named<"StepCompleted">): JobState {
  const { step, result, undoable, serverId } = entry.data;
  return {
    ...state,
    // What an older attempt left there was ended before this step began.
    openServers: new Set([...state.openServers].filter((id) => id !== serverId)),
    steps: new Map([...state.steps, [step, { result, undoable }]]),
    finishes: new Map([...state.finishes, [step, (state.finishes.get(step) ?? 0) + 1]]),
    deferrals: none,
  };
}

function deferred(state: JobState, entry: Named<"JobDeferred">): JobState {
  const { code, until, events, openServerIds } = entry.data;
  const count = state.deferrals.code === code ? state.deferrals.count + 1 : 1;
  const next = { ...unspent(state), dueAt: until, deferrals: { code, count } };
  return opened({ ...next, decided: [...state.decided, ...events] }, openServerIds);
}

function waiting(state: JobState, { data, meta }: Named<"JobWaiting">): JobState {
  const waitingSince = state.waitingSince ?? meta.time;
  return { ...state, waitingFor: data.leaseKey, waitingSince };
}

function retried(state: JobState, generation: number): JobState {
  const { queued, sequence, startedSequence, everStarted, finishes, decided, openServers } = state;
  const kept = { queued, sequence, startedSequence, everStarted, finishes, decided, openServers };
  const { startedTraceparent } = state;
  return { ...noJob, ...kept, startedTraceparent, generation };
}

function evolve(state: JobState, entry: JournalEntry): JobState {
  const { meta } = entry;
  switch (entry.name) {
    case "JobQueued": {
      if (state.queued) return state;
      const { correlationId, time: at, position: sequence } = meta;
      const { traceparent } = entry;
      const queued = { ...entry.data, at, sequence, correlationId, traceparent };
      return { ...state, queued, dueAt: entry.data.notBefore };
    }
    case "JobWaiting":
      return waiting(state, entry);
    case "JobDeferred":
      return deferred(state, entry);
    case "JobStarted":
      return started(state, entry);
    case "StepCompleted":
      return stepped(state, entry);
    case "StepUndone": {
      const undoFailed = state.undoFailed || entry.data.failure !== undefined;
      return { ...state, steps: without(state.steps, entry.data.step), undoFailed };
    }
    case "JobProgressed":
      return state;
    case "JobAttemptFailed": {
      const { failure, nextAt, openServerIds } = entry.data;
      const ending = nextAt === undefined ? failure : undefined;
      // While undoing the attempt goes on: its JobStarted is still the newest.
      const running = ending ? state.running : undefined;
      const unforeseen = failure !== undefined && isException(failure);
      const exceptions = state.exceptions + (unforeseen ? 1 : 0);
      const next = { ...state, running, failure, dueAt: nextAt, ending, exceptions };
      return opened(next, openServerIds);
    }
    case "JobParked": {
      const { failure, openServerIds } = entry.data;
      return opened({ ...unspent(state), parked: failure, failure }, openServerIds);
    }
    case "JobResumed":
      return { ...state, parked: undefined, dueAt: undefined, deferrals: none };
    case "JobCancelRequested": {
      const { actor, reason } = entry.data;
      return state.end ? state : { ...state, cancel: { actor, reason }, dueAt: undefined };
    }
    case "JobCancelAcknowledged":
      return { ...state, cancelAcknowledged: true };
    case "JobCancelEscalated":
      return opened(state, entry.data.openServerIds);
    case "JobRetried":
      return retried(state, entry.data.generation);
    case "JobForgotten":
      return { ...state, forgotten: true };
    case "JobCompleted":
    case "JobSkipped":
      return ended(state, { name: entry.name, sequence: meta.position }, entry.data.events);
    case "JobCancelled": {
      const openServers = new Set(entry.data.openServerIds);
      const end = { name: entry.name, sequence: meta.position };
      return { ...ended(state, end, entry.data.events), openServers };
    }
    case "JobFailed": {
      const { events, failure, openServerIds } = entry.data;
      const end = { name: entry.name, sequence: meta.position };
      return { ...ended(state, end, events), failure, openServers: new Set(openServerIds) };
    }
    default:
      return state;
  }
}

/** The state after these entries. Total: entries in any order give some state. */
export function foldJournal(entries: Iterable<JournalEntry>, from: JobState = noJob): JobState {
  let state = from;
  for (const entry of entries) {
    state = { ...evolve(state, entry), sequence: Math.max(state.sequence, entry.meta.position) };
  }
  return state;
}

/** True when something that was done must be taken back before the job may end badly. */
export const mustUndo = (state: JobState): boolean =>
  [...state.steps.values()].some(({ undoable }) => undoable);

/** True when a bad end needs the job's leases and fence: to take something back, or to end what may still run. */
export const mustClean = (state: JobState): boolean =>
  mustUndo(state) || state.openServers.size > 0;
