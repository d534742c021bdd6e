/** A schedule: when which job starts, and whether it does. The ledger of its ticks is beside it. */
import {
  ScheduleChanged,
  ScheduleCreated,
  SchedulePaused,
  ScheduleRemoved,
  ScheduleResumed,
  ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { conflict, notFound } from "@chom/shared/failure/failure";

export const scheduleEvents = eventTypes({
  ScheduleCreated,
  ScheduleChanged,
  SchedulePaused,
  ScheduleResumed,
  ScheduleRemoved,
});

export type ScheduleState = {
  readonly spec: ScheduleSpec | undefined;
  readonly version: number;
  readonly actor: string;
  /** Ticks before this are none of this spec's. */
  readonly since: Date;
  readonly pause: SchedulePaused | undefined;
  readonly removed: boolean;
};

const evolve: Evolve<ScheduleState, typeof scheduleEvents> = {
  ScheduleCreated: (_, { spec, version }, { time, actor }) => ({
    ...{ spec, version, actor, since: time, pause: undefined, removed: false },
  }),
  ScheduleChanged: (state, { spec, version }, { time }) => ({
    ...state,
    spec,
    version,
    since: time,
  }),
  SchedulePaused: (state, pause) => ({ ...state, pause }),
  ScheduleResumed: (state) => ({ ...state, pause: undefined }),
  ScheduleRemoved: (state) => ({ ...state, removed: true }),
};

type Asked = { readonly actor: string; readonly reason: string };

const same = (a: ScheduleSpec | undefined, b: ScheduleSpec): boolean =>
  a !== undefined &&
  JSON.stringify(ScheduleSpec.toJSON(a)) === JSON.stringify(ScheduleSpec.toJSON(b));

/** Failure `not-found` when there is none or it was removed. */
function living({ spec, removed }: ScheduleState): void {
  if (!spec || removed) throw notFound("schedule", "");
}

const commands = {
  /** The same again is the same schedule; another spec of its name is `conflict` "already-exists". */
  create(state: ScheduleState, spec: ScheduleSpec) {
    const { version } = state;
    if (!state.spec || state.removed) {
      return scheduleEvents.ScheduleCreated({ spec, version: version + 1 });
    }
    if (same(state.spec, spec)) return [];
    throw conflict("already-exists", `there is another schedule "${spec.name}": change that one`);
  },
  /** Total: makes it once, and never again after a person changed or removed it. */
  offer: (state: ScheduleState, spec: ScheduleSpec) =>
    state.spec ? [] : scheduleEvents.ScheduleCreated({ spec, version: 1 }),
  change(state: ScheduleState, spec: ScheduleSpec) {
    living(state);
    if (same(state.spec, spec)) return [];
    return scheduleEvents.ScheduleChanged({ spec, version: state.version + 1 });
  },
  pause(state: ScheduleState, pause: SchedulePaused) {
    living(state);
    const { reason, until } = state.pause ?? {};
    const isSame = state.pause && reason === pause.reason && +(until ?? 0) === +(pause.until ?? 0);
    return isSame ? [] : scheduleEvents.SchedulePaused(pause);
  },
  resume(state: ScheduleState, { actor, reason }: Asked) {
    living(state);
    return state.pause ? scheduleEvents.ScheduleResumed({ actor, reason }) : [];
  },
  remove: (state: ScheduleState, { actor, reason }: Asked) =>
    state.spec && !state.removed ? scheduleEvents.ScheduleRemoved({ actor, reason }) : [],
};

export const schedule = aggregate({
  name: "schedule",
  events: scheduleEvents,
  initial: (): ScheduleState => ({
    spec: undefined,
    version: 0,
    actor: "",
    since: new Date(0),
    pause: undefined,
    removed: false,
  }),
  evolve,
  commands,
});

/** Paused now; a pause with an end is over then. */
export const isPaused = ({ pause }: Pick<ScheduleState, "pause">, at: Date): boolean =>
  pause !== undefined && (pause.until === undefined || pause.until > at);
