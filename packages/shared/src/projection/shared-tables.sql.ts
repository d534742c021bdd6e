/** Tables that every service with projections has in its own schema; made by `serve` under the migration lock. */
import { isId } from "../aggregate/id.ts";

/** Idempotent statements for one schema (a service's name; the schema itself must exist). */
export function sharedTablesSql(schema: string): readonly string[] {
  if (!isId(schema)) throw new TypeError(`${schema} is no name of a service`);
  const name = (table: string) => `"${schema}"."${table}"`;
  return [
    `CREATE TABLE IF NOT EXISTS ${name("projection_checkpoints")} (
       projection text PRIMARY KEY,
       stream_epoch bigint NOT NULL,
       sequence bigint NOT NULL,
       event_sequence bigint NOT NULL,
       event_id text NOT NULL,
       updated_at timestamptz NOT NULL DEFAULT now()
     )`,
    `CREATE TABLE IF NOT EXISTS ${name("projection_stops")} (
       projection text NOT NULL,
       subject text NOT NULL,
       sequence bigint NOT NULL,
       event_id text NOT NULL,
       event_type text NOT NULL,
       code text NOT NULL,
       message text NOT NULL,
       skipped bigint NOT NULL DEFAULT 0,
       stopped_at timestamptz NOT NULL DEFAULT now(),
       PRIMARY KEY (projection, subject)
     )`,
  ];
}
