/** Reactors: stateless, event in, requests out. A reactor lives in the service that acts. */
import type { AnyAggregate, EventMeta, InputOf } from "../aggregate/aggregate.ts";
import type { DataOf, EventTypes } from "../aggregate/event-types.ts";
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

export type Reactor = {
  /** Also the durable consumer's name, `<service>-<name>`: renaming it replays. At most 32 characters. */
  readonly name: string;
  /** The kind of aggregate listened to: subjects `evt.*.<aggregate>.*`. */
  readonly aggregate: string;
  readonly from: EventTypes;
  readonly on: Readonly<
    Record<
      string,
      (
        // biome-ignore lint/suspicious/noExplicitAny: erased here, checked by `reactor`.
        data: any,
        meta: EventMeta,
      ) => Reaction | readonly Reaction[] | Promise<Reaction | readonly Reaction[]>
    >
  >;
};

/** Declares a reactor; `on` may leave out events of `from`. */
export const reactor = <Types extends EventTypes>(definition: {
  name: string;
  aggregate: string;
  from: Types;
  on: {
    readonly [Name in keyof Types & string]?: (
      data: DataOf<Types[Name]>,
      meta: EventMeta,
    ) => Reaction | readonly Reaction[] | Promise<Reaction | readonly Reaction[]>;
  };
}): Reactor => definition as Reactor;
