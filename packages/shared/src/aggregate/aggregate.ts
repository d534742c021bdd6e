/** Aggregates: a consistency boundary as plain data and functions. State is folded from the aggregate's own events. */
import type { DataOf, EventOf, EventTypes, NewEvent } from "./event-types.ts";

/** What the log knows of a stored event, beside its data. */
export type EventMeta = {
  readonly eventId: string;
  readonly time: Date;
  readonly tenant: string;
  /** The aggregate's id. */
  readonly id: string;
  /** Position in the event log. */
  readonly position: number;
  readonly actor: string;
  readonly causationId: string;
  readonly correlationId: string;
};

/** State and event give the next state; pure and total. */
export type Evolve<State, Types extends EventTypes> = {
  readonly [Name in keyof Types & string]: (
    state: State,
    data: DataOf<Types[Name]>,
    meta: EventMeta,
  ) => State;
};

/** State and input give events; `[]` means nothing to do. Throws `rejected` where the state forbids it. */
export type Command<State, Input, Event> = (state: State, input: Input) => Event | readonly Event[];

export type Commands<State, Types extends EventTypes> = Readonly<
  // biome-ignore lint/suspicious/noExplicitAny: commands of one aggregate differ in their input.
  Record<string, Command<State, any, EventOf<Types>>>
>;

export type Aggregate<State, Types extends EventTypes, Cs extends Commands<State, Types>> = {
  /** Token in the subject `evt.<tenant>.<name>.<id>`: a-z, 0-9 and dash, at most 32. */
  readonly name: string;
  readonly events: Types;
  readonly initial: () => State;
  readonly evolve: Evolve<State, Types>;
  readonly commands: Cs;
};

// biome-ignore lint/suspicious/noExplicitAny: any aggregate whatever.
export type AnyAggregate = Aggregate<any, any, any>;

/** The input that a command of an aggregate takes. */
export type InputOf<A extends AnyAggregate, Name extends keyof A["commands"]> =
  // biome-ignore lint/suspicious/noExplicitAny: the state does not matter here.
  A["commands"][Name] extends (state: any, input: infer Input) => unknown ? Input : never;

export type StateOf<A extends AnyAggregate> = ReturnType<A["initial"]>;

/** Declares an aggregate; the compiler checks that every event has its evolve and every command gives own events. */
export const aggregate = <State, Types extends EventTypes, Cs extends Commands<State, Types>>(
  definition: Aggregate<State, Types, Cs>,
): Aggregate<State, Types, Cs> => definition;

/** An event as it came from the log. An unknown name is skipped by `fold`: an older reader never breaks on it. */
export type StoredEvent = NewEvent & { readonly meta: EventMeta };

/** The state after these events. */
export function fold<A extends AnyAggregate>(
  of: A,
  events: Iterable<{ name: string; data: unknown; meta: EventMeta }>,
  from: StateOf<A> = of.initial(),
): StateOf<A> {
  let state = from;
  for (const { name, data, meta } of events) {
    const step = Object.hasOwn(of.evolve, name) ? of.evolve[name] : undefined;
    if (step) state = step(state, data, meta);
  }
  return state;
}

/** Runs one command against a state and always answers a list. */
export function decide<A extends AnyAggregate, Name extends keyof A["commands"] & string>(
  of: A,
  state: StateOf<A>,
  command: Name,
  input: InputOf<A, Name>,
): readonly NewEvent[] {
  const decided = of.commands[command](state, input);
  return Array.isArray(decided) ? decided : [decided];
}
