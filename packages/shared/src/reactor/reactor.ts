/** Reactors: stateless, event in, requests out. A reactor lives in the service that acts. */
import type { AnyAggregate, EventMeta, InputOf } from "../aggregate/aggregate.ts";
import type { DataOf, EventTypes } from "../aggregate/event-types.ts";
import type { Failure } from "../failure/failure.ts";
import type { DispatchRequest } from "../job/job.ts";

/** A request to run a command of an own aggregate. */
export type CommandRequest = {
  readonly kind: "command";
  readonly aggregate: AnyAggregate;
  readonly tenant: string;
  readonly id: string;
  readonly command: string;
  readonly input: unknown;
};

export type Reaction = DispatchRequest | CommandRequest;

/** Builds a CommandRequest with the compiler checking command and input. */
// oxlint-disable-next-line max-params -- reads like a sentence, and the compiler tells the parameters apart.
export const command = <A extends AnyAggregate, Name extends keyof A["commands"] & string>(
  aggregate: A,
  tenant: string,
  id: string,
  name: Name,
  input: InputOf<A, Name>,
): CommandRequest => ({ kind: "command", aggregate, tenant, id, command: name, input });

/** What an event gives; erased in `Reactor`, checked by `reactor`. */
export type React<Data> = (
  data: Data,
  meta: EventMeta,
) => Reaction | readonly Reaction[] | Promise<Reaction | readonly Reaction[]>;

/**
 * For reactors whose events each stand alone and must each be answered: events are worked on side by side, and one that
 * fails comes back with growing waits, while others pass it. When the patience is over it is given up in words of its own
 * instead of quarantined. Events of one aggregate may overtake each other.
 */
export type Patience<Data> = {
  /** Events at a time in one process, 1 to 256. */
  readonly atOnce: number;
  /** How long an event is tried for, measured in the waits between its tries: a time of no service does not count. */
  readonly maxMs: number;
  /** Ends it earlier: from this time on a failure is the last. */
  readonly endsAt?: (data: Data) => Date | undefined;
  /** What becomes of an event that is given up; the failure is that of its last try. */
  readonly giveUp: (failure: Failure) => React<Data>;
};

export type Reactor = {
  /** Also the durable consumer's name, `<service>-<name>`: renaming it replays. At most 32 characters. */
  readonly name: string;
  /** The kind of aggregate listened to: subjects `evt.*.<aggregate>.*`. */
  readonly aggregate: string;
  readonly from: EventTypes;
  // biome-ignore lint/suspicious/noExplicitAny: erased here, checked by `reactor`.
  readonly on: Readonly<Record<string, React<any>>>;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly patience?: Patience<any> | undefined;
};

/** Declares a reactor; `on` may leave out events of `from`. */
export const reactor = <Types extends EventTypes>(definition: {
  name: string;
  aggregate: string;
  from: Types;
  on: { readonly [Name in keyof Types & string]?: React<DataOf<Types[Name]>> };
  patience?: Patience<DataOf<Types[keyof Types & string]>>;
}): Reactor => definition as Reactor;
