/** Tables beside the served ones: made empty like them, filled by the same handlers, and taken over row by row. */
import { sql } from "drizzle-orm";
import { getTableConfig, type PgTable } from "drizzle-orm/pg-core";
import { failureOf } from "../failure/failure.ts";
import type { Database, Transaction } from "./database.ts";

/** Where a service's tables are built anew. */
export const shadowSchema = (service: string): string => `${service}_rebuild`;

export const nameOf = (table: PgTable): string => getTableConfig(table).name;

const at = (schema: string, table: string) =>
  sql`${sql.identifier(schema)}.${sql.identifier(table)}`;

/** Makes them, empty; whatever an earlier rebuild left behind goes. */
export async function makeShadow(
  db: Database,
  service: string,
  names: readonly string[],
): Promise<void> {
  const schema = shadowSchema(service);
  await db.transaction(async (tx) => {
    await dropShadow(tx, service);
    await tx.execute(sql`create schema ${sql.identifier(schema)}`);
    for (const name of new Set(names)) {
      await tx.execute(
        sql`create table ${at(schema, name)} (like ${at(service, name)}
          including defaults including constraints including indexes)`,
      );
    }
  });
}

export const dropShadow = (db: Database, service: string): Promise<unknown> =>
  db.execute(sql`drop schema if exists ${sql.identifier(shadowSchema(service))} cascade`);

/** Columns of the primary key, in the catalogue's words. */
async function keyOf(tx: Transaction, service: string, name: string): Promise<string[]> {
  const rows = (await tx.execute(sql`
    select a.attname as column from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
    where i.indrelid = ${`"${service}"."${name}"`}::regclass and i.indisprimary`)) as unknown as {
    column: string;
  }[];
  if (rows.length === 0) {
    throw failureOf(
      "invalid-config",
      `${service}.${name} has no primary key: it cannot be rebuilt`,
    );
  }
  return rows.map(({ column }) => column);
}

/** Takes what others noted about a row over to the new one, while both say the same of the same entry. */
export async function takeNotes(
  tx: Transaction,
  service: string,
  name: string,
  notes: readonly string[],
): Promise<void> {
  if (notes.length === 0) return;
  const key = await keyOf(tx, service, name);
  const same = sql.join(
    [...key, "position"].map((each) => sql`s.${sql.identifier(each)} = t.${sql.identifier(each)}`),
    sql` and `,
  );
  const set = sql.join(
    notes.map((note) => sql`${sql.identifier(note)} = t.${sql.identifier(note)}`),
    sql`, `,
  );
  await tx.execute(
    sql`update ${at(shadowSchema(service), name)} s set ${set} from ${at(service, name)} t where ${same}`,
  );
}

/**
 * Makes the served table hold exactly the shadow's rows, byte for byte. Only rows that differ are touched, so that
 * readers go on and a table that was right costs a comparison. Answers how many differed, and how many there are.
 */
export async function takeOver(
  tx: Transaction,
  service: string,
  name: string,
): Promise<{ changed: number; total: number }> {
  const [served, shadow] = [at(service, name), at(shadowSchema(service), name)];
  const key = await keyOf(tx, service, name);
  const using = sql.join(key.map(sql.identifier), sql`, `);
  const first = sql.identifier(key[0] ?? "");
  const counts = async (query: ReturnType<typeof sql>): Promise<number> => {
    const [row] = (await tx.execute(query)) as unknown as { count: number }[];
    return row?.count ?? 0;
  };
  const changed = await counts(sql`select count(*)::int as count from ${served} t
    full join ${shadow} s using (${using})
    where t.${first} is null or s.${first} is null or record_image_ne(t, s)`);
  const total = await counts(sql`select count(*)::int as count from ${shadow}`);
  if (changed === 0) return { changed, total };
  await tx.execute(sql`delete from ${served} where ctid = any(array(
    select t.ctid from ${served} t left join ${shadow} s using (${using})
    where s.${first} is null or record_image_ne(t, s)))`);
  await tx.execute(sql`insert into ${served}
    select s.* from ${shadow} s left join ${served} t using (${using}) where t.${first} is null`);
  return { changed, total };
}
