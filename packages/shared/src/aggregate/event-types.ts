/** Event types of an aggregate, made from the generated codecs: callable makers that know their wire name. */

/** What ts-proto generates for a message, as far as events need it. */
export type Codec<T> = {
  readonly $type: string;
  // biome-ignore lint/suspicious/noExplicitAny: the generated signature; anything may come off the wire.
  fromJSON(object: any): T;
  toJSON(message: T): unknown;
};

/** A fact that was decided but not stored yet. */
export type NewEvent<Name extends string = string, Data = unknown> = {
  readonly name: Name;
  readonly codec: Codec<Data>;
  readonly data: Data;
};

/** Makes events of one type; `codec` reads and writes their data. */
export type EventType<Name extends string, Data> = ((data: Data) => NewEvent<Name, Data>) & {
  readonly codec: Codec<Data>;
};

// biome-ignore lint/suspicious/noExplicitAny: the one place where the data types of a map differ by key.
export type EventTypes = Record<string, EventType<string, any>>;

// biome-ignore lint/suspicious/noExplicitAny: see EventTypes.
type Codecs = Record<string, Codec<any>>;

export type DataOf<Type> = Type extends EventType<string, infer Data> ? Data : never;
export type EventOf<Types extends EventTypes> = {
  [Name in keyof Types & string]: NewEvent<Name, DataOf<Types[Name]>>;
}[keyof Types & string];

type Made<C extends Codecs> = {
  readonly [Name in keyof C & string]: C[Name] extends Codec<infer Data>
    ? EventType<Name, Data>
    : never;
};

/** Event types by name, from generated codecs of the same names. */
export function eventTypes<C extends Codecs>(codecs: C): Made<C> {
  const made = Object.entries(codecs).map(([name, codec]) => [
    name,
    Object.assign((data: unknown) => ({ name, codec, data }), { codec }),
  ]);
  return Object.fromEntries(made) as Made<C>;
}
