/** Databases and the two roles per service, one that owns its tables and one that uses them; none sees another's. */
import { randomBytes } from "node:crypto";
import postgresClient from "postgres";

export type ServiceRole = {
  /** Service's name, `[a-z0-9_-]`; its schemas are `<name>` and `<name>_secrets`. */
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

/** URLs of a service's two roles, in its database. */
export type ServiceUrls = {
  /** Of the role that the service runs as: it reads and writes rows of tables that are another's. */
  readonly url: string;
  /** Of the role that owns the service's schemas, for migrations. */
  readonly ownerUrl: string;
};

/**
 * Makes a service's two login roles: `<name>_owner`, which owns its two (empty) schemas in `database`, and `<name>`,
 * to which migrations grant the use of what they make. Schemas are made here, so that no other role can squat on their
 * names; the right to create more is for migrations, whose `create schema if not exists` asks for it even when the
 * schema is there, and for tables that a service builds beside the served ones.
 * May be repeated: passwords are set anew, and the owner's is made here.
 */
export async function createServiceRoles(
  adminUrl: string,
  role: ServiceRole,
): Promise<ServiceUrls> {
  const { name, database, password } = role;
  const [owner, ownerPassword] = [`${name}_owner`, randomBytes(18).toString("base64url")];
  const url = Object.assign(new URL(adminUrl), { pathname: `/${database}` });
  await as(url.href, async (sql) => {
    await createLogin(sql, name, password);
    await createLogin(sql, owner, ownerPassword);
    for (const each of [name, owner]) {
      await sql`grant connect, temporary, create on database ${sql(database)} to ${sql(each)}`;
    }
    for (const schema of [name, `${name}_secrets`]) {
      await sql`create schema if not exists ${sql(schema)} authorization ${sql(owner)}`;
    }
  });
  const urlOf = (username: string, password: string) =>
    Object.assign(new URL(url), { username, password }).href;
  return { url: urlOf(name, password), ownerUrl: urlOf(owner, ownerPassword) };
}

async function createLogin(sql: postgresClient.Sql, name: string, password: string) {
  const [known] = await sql`select 1 from pg_roles where rolname = ${name}`;
  if (!known) await sql`create role ${sql(name)} login nosuperuser nocreatedb nocreaterole`;
  // Statements of this kind take no parameters, so the server quotes the value itself.
  const [alter] = await sql`
    select format('alter role %I password %L', ${name}::text, ${password}::text) as text`;
  await sql.unsafe(alter?.["text"] as string);
}

async function as<T>(url: string, work: (sql: postgresClient.Sql) => Promise<T>): Promise<T> {
  const sql = postgresClient(url, { max: 1, onnotice: () => {} });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}
