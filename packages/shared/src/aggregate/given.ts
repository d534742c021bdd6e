/** `given(events).when(command, input)`: how aggregates are tested. */
import { type AnyAggregate, decide, type EventMeta, fold, type InputOf } from "./aggregate.ts";
import type { NewEvent } from "./event-types.ts";

const meta = (index: number): EventMeta => ({
  eventId: `event-${index}`,
  time: new Date(Date.UTC(2026, 0, 1, 0, 0, index)),
  tenant: "tenant-1",
  id: "aggregate-1",
  position: index,
  actor: "tester",
  causationId: "",
  correlationId: "",
});

/** Folds the events (one second apart from 2026-01-01) and runs a command on the result. */
export function given<A extends AnyAggregate>(of: A, ...events: readonly NewEvent[]) {
  const state = fold(
    of,
    events.map((event, index) => ({ ...event, meta: meta(index + 1) })),
  );
  return {
    state,
    when: <Name extends keyof A["commands"] & string>(command: Name, input: InputOf<A, Name>) =>
      decide(of, state, command, input).map(({ name, data }) => ({ name, data })),
  };
}
