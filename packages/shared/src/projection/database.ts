/** The Postgres handle that read models are written through. */
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";

// biome-ignore lint/suspicious/noExplicitAny: read models are queried through their tables, not through a schema object.
export type Database = PgDatabase<PgQueryResultHKT, any, any>;
/** A running transaction of the same shape. */
export type Transaction = Database;
