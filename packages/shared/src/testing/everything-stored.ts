/** Everything that is kept, for tests that look for what must not be there: messages of all streams, rows of all tables. */
import postgresClient from "postgres";
import { api, type Nats, valueOf } from "../event-log/nats.ts";

/** What is kept, and where. */
export type Kept = { readonly place: string; readonly bytes: Buffer };

type Wire = { message: { subject: string; seq: number; hdrs?: string; data?: string } };
const noMessage = 10037;

/** Subject, headers and body of each message that a stream or bucket holds now; as the user who may read all. */
export async function* storedMessages(nats: Nats): AsyncGenerator<Kept> {
  const { streams } = valueOf(await api<{ streams: string[] }>(nats, "STREAM.NAMES"), "listing");
  for (const stream of streams) {
    for (let seq = 1; ; ) {
      const answer = await api<Wire>(nats, `STREAM.MSG.GET.${stream}`, { seq, next_by_subj: ">" });
      if ("fault" in answer && answer.fault.code === noMessage) break;
      const { message } = valueOf(answer, `reading ${stream}`);
      const [headers, body] = [message.hdrs, message.data].map((part = "") =>
        Buffer.from(part, "base64"),
      ) as [Buffer, Buffer];
      const bytes = Buffer.concat([Buffer.from(`${message.subject}\n`), headers, body]);
      yield { place: `${stream} ${message.seq} ${message.subject}`, bytes };
      seq = message.seq + 1;
    }
  }
}

/** Each row of each table of every database, as Postgres writes it, and what its processes say that they do. */
export async function* storedRows(superuserUrl: string): AsyncGenerator<Kept> {
  const first = postgresClient(superuserUrl, { max: 1 });
  try {
    const databases = await first<{ datname: string }[]>`
      select datname from pg_database where datallowconn`;
    const doing = await first`select * from pg_stat_activity`;
    yield { place: "pg_stat_activity", bytes: Buffer.from(JSON.stringify(doing)) };
    for (const { datname } of databases) {
      const url = new URL(superuserUrl);
      url.pathname = `/${datname}`;
      yield* rowsOf(url.href, datname);
    }
  } finally {
    await first.end();
  }
}

async function* rowsOf(url: string, database: string): AsyncGenerator<Kept> {
  const sql = postgresClient(url, { max: 1 });
  try {
    const tables = await sql<{ schema: string; name: string }[]>`
      select schemaname as schema, tablename as name from pg_tables
      where schemaname not in ('pg_catalog', 'information_schema')`;
    for (const { schema, name } of tables) {
      const rows = await sql<{ text: string }[]>`
        select kept::text as text from ${sql(schema)}.${sql(name)} as kept`;
      for (const { text } of rows) {
        yield { place: `${database}.${schema}.${name}`, bytes: Buffer.from(text) };
      }
    }
  } finally {
    await sql.end();
  }
}
