/** Projections: read models folded into Postgres, rows and checkpoint in one transaction. */
import type { EventMeta } from "../aggregate/aggregate.ts";
import type { DataOf, EventTypes } from "../aggregate/event-types.ts";
import type { Transaction } from "./database.ts";

/** For journal entries `id` is the job id; `family` is set too. */
export type ProjectedMeta = EventMeta & { readonly family: string };

export type Source =
  /** Events of one kind of aggregate, `evt.*.<aggregate>.*`. */
  | { readonly stream: "EVENTS"; readonly aggregate: string }
  /** Journals of one family, or of all (`*`). */
  | { readonly stream: "JOURNAL"; readonly family: string };

export type Projection = {
  /** Unique within its service; the checkpoint's key. At most 32 characters. */
  readonly name: string;
  readonly source: Source;
  readonly from: EventTypes;
  readonly on: Readonly<
    // biome-ignore lint/suspicious/noExplicitAny: erased here, checked by `projection`.
    Record<string, (data: any, meta: ProjectedMeta, tx: Transaction) => Promise<unknown>>
  >;
};

/** Declares a projection; `on` may leave out events of `from`. Handlers see events in stream order. */
export const projection = <Types extends EventTypes>(definition: {
  name: string;
  source: Source;
  from: Types;
  on: {
    readonly [Name in keyof Types & string]?: (
      data: DataOf<Types[Name]>,
      meta: ProjectedMeta,
      tx: Transaction,
    ) => Promise<unknown>;
  };
}): Projection => definition as Projection;
