/** Projections: read models folded into Postgres, rows and checkpoint in one transaction. */
import type { EventMeta } from "../aggregate/aggregate.ts";
import type { DataOf, EventTypes } from "../aggregate/event-types.ts";
import type { PgTable } from "drizzle-orm/pg-core";
import type { Entry } from "../event-log/event-log.ts";
import type { Database, Transaction } from "./database.ts";

/** For journal entries `id` is the job id; `family` is set too. */
export type ProjectedMeta = EventMeta & { readonly family: string };

export type Source =
  /** Events of one kind of aggregate, `evt.*.<aggregate>.*`. */
  | { readonly stream: "EVENTS"; readonly aggregate: string }
  /** Journals of one family, or of all (`*`). */
  | { readonly stream: "JOURNAL"; readonly family: string };

/** What building it again needs to know. */
export type Rebuild = {
  /** Its own tables: a rebuild makes them hold exactly what the log says. */
  readonly tables: readonly PgTable[];
  /** Written by it too, but not from the log alone, like an outbox: a rebuild leaves these alone. */
  readonly beside?: readonly PgTable[];
  /** Columns that say what others noted about a row; kept while the row's `position` is the same. */
  readonly notes?: readonly string[];
  /** Entries that the stream no longer has, in order; told before the stream. */
  readonly past?: (db: Database) => AsyncIterable<readonly Entry[]>;
  /** The tick that takes entries out of the stream: it rests during a rebuild. */
  readonly pauses?: string;
};

export type Projection = {
  /** Unique within its service; the checkpoint's key. At most 32 characters. */
  readonly name: string;
  readonly source: Source;
  readonly rebuild: Rebuild;
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
  rebuild: Rebuild;
  from: Types;
  on: {
    readonly [Name in keyof Types & string]?: (
      data: DataOf<Types[Name]>,
      meta: ProjectedMeta,
      tx: Transaction,
    ) => Promise<unknown>;
  };
}): Projection => definition as Projection;
