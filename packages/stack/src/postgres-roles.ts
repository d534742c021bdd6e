/** Databases and the one role per service: it may make its own schemas and see nobody else's. */
import postgresClient from "postgres";

export type ServiceRole = {
  /** Service and role name, `[a-z0-9_-]`; its schemas are `<name>` and `<name>_secrets`. */
  name: string;
  password: string;
  database: string;
};

/** Makes an empty database, closed to everybody but the superuser; gives `adminUrl` pointed at it. */
export async function createDatabase(adminUrl: string, name: string): Promise<string> {
  const url = Object.assign(new URL(adminUrl), { pathname: `/${name}` }).href;
  await as(adminUrl, (sql) => sql`create database ${sql(name)}`);
  await as(adminUrl, (sql) => sql`revoke all on database ${sql(name)} from public`);
  await as(url, (sql) => sql`revoke all on schema public from public`);
  return url;
}

/**
 * Makes a login role that owns only its two (empty) schemas in `database`. They are made here, so that no
 * other role can squat on their names; the right to create more is for migrations, whose
 * `create schema if not exists` asks for it even when the schema is there.
 * Gives the role's URL. May be repeated: the password is set anew.
 */
export async function createServiceRole(adminUrl: string, role: ServiceRole): Promise<string> {
  const { name, database } = role;
  const url = Object.assign(new URL(adminUrl), { pathname: `/${database}` });
  await as(url.href, async (sql) => {
    const [known] = await sql`select 1 from pg_roles where rolname = ${name}`;
    if (!known) await sql`create role ${sql(name)} login nosuperuser nocreatedb nocreaterole`;
    // Statements of this kind take no parameters, so the server quotes the value itself.
    const [alter] = await sql`
      select format('alter role %I password %L', ${name}::text, ${role.password}::text) as text`;
    await sql.unsafe(alter?.["text"] as string);
    await sql`grant connect, temporary, create on database ${sql(database)} to ${sql(name)}`;
    for (const schema of [name, `${name}_secrets`]) {
      await sql`create schema if not exists ${sql(schema)} authorization ${sql(name)}`;
    }
  });
  return Object.assign(url, { username: name, password: role.password }).href;
}

async function as<T>(url: string, work: (sql: postgresClient.Sql) => Promise<T>): Promise<T> {
  const sql = postgresClient(url, { max: 1, onnotice: () => {} });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}
