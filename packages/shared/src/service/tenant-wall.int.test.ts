/** The second wall alone: queries without any condition on the tenant, as a service's own role in a real Postgres. */
import { readdirSync, readFileSync } from "node:fs";
import { type Postgres as Server, startPostgres } from "@chom/stack/postgres";
import { sql } from "drizzle-orm";
import { pgSchema, text } from "drizzle-orm/pg-core";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { Database } from "../projection/database.ts";
import { inTenant } from "../rpc/tenant-scope.ts";
import { Secret } from "../secrets/secret.ts";
import { checkRole } from "./database-role.ts";
import { checkTables, migrateService } from "./migrate.ts";
import { openPostgres, type Postgres } from "./postgres.ts";
import { sharedTables } from "./shared-tables.ts";
import { checkTenantWalls } from "./tenant-wall.ts";

/** Every service that has a database, with the tables of its own migrations. */
const services = ["backup", "credentials", "provisioning", "scheduler", "ssl"];
const folderOf = (service: string) =>
  new URL(`../../../../services/${service}/migrations`, import.meta.url);

const things = pgSchema("toy").table("things", {
  tenant: text("tenant").notNull(),
  id: text("id").notNull(),
});
const shared = [
  "create table if not exists toy.things (tenant text not null, id text not null)",
  "create table if not exists toy_secrets.claims (owner_tenant text not null, id text not null)",
];

let server: Server;
let pool: Postgres;
let owner: Postgres;
let url: Secret;
let ownerUrl: Secret;

beforeAll(async () => {
  server = await startPostgres();
  await server.createDatabase("walls");
  const urls = await server.createServiceRoles("toy", "a-password-of-a-test", "walls");
  [url, ownerUrl] = [new Secret(urls.url), new Secret(urls.ownerUrl)];
  const migration = {
    url: ownerUrl,
    service: "toy",
    shared,
    folder: new URL("none/", import.meta.url),
  };
  // Twice: what stands is left alone.
  await migrateService(migration);
  await migrateService(migration);
  pool = openPostgres(url, "toy", 4);
  owner = openPostgres(ownerUrl, "toy", 1);
  await pool.db.insert(things).values([
    { tenant: "acme", id: "a1" },
    { tenant: "acme", id: "a2" },
    { tenant: "other", id: "o1" },
  ]);
});
afterAll(async () => {
  await Promise.all([pool?.close(), owner?.close()]);
  await server?.stop();
});

const ids = async (db: Database = pool.db) =>
  (await db.select({ id: things.id }).from(things)).map(({ id }) => id).toSorted();

test("case 33: a caller's query that forgets its tenant finds no row of another tenant", async () => {
  expect(await ids()).toEqual(["a1", "a2", "o1"]);
  expect(await inTenant("acme", () => ids())).toEqual(["a1", "a2"]);
  expect(await inTenant("other", () => ids())).toEqual(["o1"]);
  expect(await inTenant("nobody", () => ids())).toEqual([]);
  const raw = () => pool.db.execute(sql`select id from toy.things`);
  expect(await inTenant("other", raw)).toEqual([{ id: "o1" }]);
});

test("case 33: a caller's transaction and its savepoints are limited too, and leave nothing behind", async () => {
  const seen = await inTenant("acme", () =>
    pool.db.transaction(async (tx) => [await ids(tx), await tx.transaction((inner) => ids(inner))]),
  );
  expect(seen).toEqual([
    ["a1", "a2"],
    ["a1", "a2"],
  ]);
  // On the same few connections: the limit ends with its transaction.
  const mixed = await Promise.all(
    Array.from({ length: 40 }, (_, at) =>
      at % 2 === 0 ? ids() : inTenant("other", async () => ids()),
    ),
  );
  for (const [at, found] of mixed.entries()) expect(found).toHaveLength(at % 2 === 0 ? 3 : 1);
});

test("case 33: a caller can neither write nor change rows of another tenant", async () => {
  const insert = inTenant("acme", async () =>
    pool.db.insert(things).values({ tenant: "other", id: "x" }),
  );
  await expect(insert).rejects.toMatchObject({ cause: { code: "42501" } });
  await inTenant("acme", async () =>
    pool.db.update(things).set({ id: "stolen" }).where(sql`id = 'o1'`),
  );
  await inTenant("acme", async () => pool.db.delete(things).where(sql`id = 'o1'`));
  await inTenant("acme", async () => pool.db.insert(things).values({ tenant: "acme", id: "a3" }));
  expect(await ids()).toEqual(["a1", "a2", "a3", "o1"]);
  await pool.db.delete(things).where(sql`id = 'a3'`);
});

test("the platform and the system's own work see all tenants, a session that says nothing sees none", async () => {
  expect(await inTenant("platform", () => ids())).toHaveLength(3);
  expect(await inTenant("", () => ids())).toHaveLength(3);
  const plain = postgres(url.reveal(), { max: 1, fetch_types: false });
  onTestFinished(() => plain.end({ timeout: 5 }));
  expect(await ids(drizzle(plain) as unknown as Database)).toEqual([]);
});

test("a tenant table whose wall is down, not forced, or has a second policy is named", async () => {
  const check = () => checkTenantWalls(pool.sql, "toy");
  await check();
  const change = (text: string) => owner.sql.unsafe(text);
  for (const [down, up] of [
    [
      "alter table toy.things disable row level security",
      "alter table toy.things enable row level security",
    ],
    [
      "alter table toy.things no force row level security",
      "alter table toy.things force row level security",
    ],
    ["create policy open on toy.things using (true)", "drop policy open on toy.things"],
  ] as const) {
    await change(down);
    await expect(check()).rejects.toMatchObject({
      code: "invalid-config",
      message: "no row-level security on toy.things",
    });
    await change(up);
  }
  await check();
});

/** A service's tables in the server, made as its migration makes them; gives a pool of the role that it runs as. */
async function madeTables(service: string) {
  const made = await server.createServiceRoles(service, "a-password-of-a-test", "walls");
  const tables = { service, shared: sharedTables(service), folder: folderOf(service) };
  await migrateService({ ...tables, url: new Secret(made.ownerUrl) });
  const running = new Secret(made.url);
  const own = openPostgres(running, service, 1);
  onTestFinished(() => own.close());
  return { ...own, tables, running, ownerUrl: new Secret(made.ownerUrl) };
}

test.each(services)(
  "case 33: every table of %s with a tenant has a forced policy",
  async (service) => {
    const made = await madeTables(service);
    await checkTenantWalls(made.sql, service);
    const found = await made.sql<{ name: string; walled: boolean }[]>`
    select c.oid::regclass::text as name, c.relrowsecurity and c.relforcerowsecurity as walled
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname like '%tenant'
    where c.relnamespace::regnamespace::text in (${service}, ${`${service}_secrets`}) and c.relkind = 'r'`;
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter(({ walled }) => !walled)).toEqual([]);
  },
);

test.each(services)(
  "case 33: the runtime role of %s cannot turn off row-level security, nor change, empty or drop any of its tables",
  async (service) => {
    const { sql: own, running, tables } = await madeTables(service);
    await checkRole(running, service);
    await checkTables(running, tables);
    const found = await own<{ name: string; ledger: boolean; walled: boolean }[]>`
      select c.oid::regclass::text as name, c.relname in ('migrations', 'made_tables') as ledger,
        c.relrowsecurity as walled
      from pg_class c
      where c.relnamespace::regnamespace::text in (${service}, ${`${service}_secrets`}) and c.relkind = 'r'`;
    expect(found.length).toBeGreaterThan(3);
    for (const { name, ledger, walled } of found) {
      for (const change of [
        `alter table ${name} disable row level security`,
        `alter table ${name} no force row level security`,
        `create policy open on ${name} using (true)`,
        ...(walled ? [`drop policy tenant_wall on ${name}`] : []),
        `alter table ${name} owner to ${service}`,
        `alter table ${name} add column more text`,
        `truncate ${name}`,
        `drop table ${name}`,
        ...(ledger ? [`delete from ${name}`] : []),
      ]) {
        await expect(own.unsafe(change), change).rejects.toMatchObject({ code: "42501" });
      }
      // What it is for: rows are in its reach, but where a migration made a table append-only.
      if (!ledger && !name.endsWith("event_archive")) {
        await own.unsafe(`delete from ${name} where false`);
      }
      await own.unsafe(`select from ${name} limit 1`);
    }
    for (const change of [
      `set role ${service}_owner`,
      `drop schema ${service} cascade`,
      `create table ${service}.more (id text)`,
      `alter role ${service} bypassrls`,
    ]) {
      await expect(own.unsafe(change), change).rejects.toMatchObject({ code: "42501" });
    }
    expect(await own`select 1 as up`).toEqual([{ up: 1 }]);
  },
);

test("every query that a runbook gives is one that the tables answer", async () => {
  const made = new Map<string, Postgres["sql"]>();
  for (const service of services) made.set(service, (await madeTables(service)).sql);
  const folder = new URL("../../../../docs/runbooks/", import.meta.url);
  let queries = 0;
  for (const name of readdirSync(folder)) {
    const page = readFileSync(new URL(name, folder), "utf8");
    for (const [, block = ""] of page.matchAll(/```sql\n([\s\S]*?)```/g)) {
      for (const query of block.split(";").filter((text) => text.trim() !== "")) {
        const here = query.replaceAll("SERVICE", "scheduler");
        const schema = /\bfrom (\w+)\./.exec(here)?.[1] ?? "scheduler";
        const sql = made.get(schema);
        expect(sql, `${name}: ${query}`).toBeDefined();
        await sql?.unsafe(here).catch((error: Error) => {
          throw new Error(`${name}: ${query.trim()}: ${error.message}`);
        });
        queries += 1;
      }
    }
  }
  expect(queries).toBeGreaterThan(8);
});

test("case 33, 42: a service does not run as the role that owns its tables, nor as one that may become it", async () => {
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  onTestFinished(() => admin.end({ timeout: 2 }));
  const refusal = 'CHOM_POSTGRES_URL_FILE: its role is, or may become, "toy_owner", which owns ';
  const run = (as: Secret) => checkRole(as, "toy").then(() => "accepted", String);
  expect(await run(ownerUrl)).toContain(`${refusal}the schema toy`);
  expect(await run(url)).toBe("accepted");
  await admin.unsafe("grant toy_owner to toy");
  expect(await run(url)).toContain(`${refusal}the schema toy`);
  await admin.unsafe("revoke toy_owner from toy");
  await admin.unsafe("alter role toy createrole");
  expect(await run(url)).toContain('"toy", which makes roles');
  await admin.unsafe("alter role toy nocreaterole");
});

test("a service whose tables are an older release's, or whose wall is down, does not start and is told the remedy", async () => {
  const folder = new URL("none/", import.meta.url);
  const newer = { service: "toy", shared: [...shared, "select 'a newer release'"], folder };
  await checkTables(url, { ...newer, shared });
  await expect(checkTables(url, newer)).rejects.toMatchObject({
    code: "schema-behind",
    message: expect.stringContaining("run `main.ts migrate` of it"),
  });
  await migrateService({ ...newer, url: ownerUrl });
  await checkTables(url, newer);
  // An older process beside the newer one goes on.
  await checkTables(url, { ...newer, shared });
  await owner.sql.unsafe("alter table toy.things disable row level security");
  await expect(checkTables(url, newer)).rejects.toMatchObject({ code: "invalid-config" });
  await migrateService({ ...newer, url: ownerUrl });
  await checkTables(url, newer);
});

test("a service that never migrated is told so, and a migration without the service's role too", async () => {
  const folder = new URL("none/", import.meta.url);
  await expect(checkTables(url, { service: "nowhere", shared: [], folder })).rejects.toMatchObject({
    code: "schema-behind",
  });
  const nobody = { url: new Secret(server.url), service: "nobody", shared: [], folder };
  await expect(migrateService(nobody)).rejects.toMatchObject({ code: "bad-settings" });
});

test("case 33, 42: a service does not run as a role that no wall holds, nor as one that may become such a role", async () => {
  await checkRole(url, "toy");
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  onTestFinished(() => admin.end({ timeout: 2 }));
  const refused = async (login: string) => {
    const at = Object.assign(new URL(url.reveal()), { username: login, password: "a-password" });
    return checkRole(new Secret(at.href), "toy").then(
      () => "accepted",
      (error: Error) => error.message,
    );
  };
  await admin.unsafe(`
    create role mighty superuser login password 'a-password';
    create role unbound bypassrls login password 'a-password';
    create role owner_of_all bypassrls;
    create role climber login password 'a-password' in role owner_of_all;
    create role plain login password 'a-password';
    grant connect on database walls to unbound, climber, plain`);
  expect(await refused("plain")).toBe("accepted");
  expect(await refused("mighty")).toContain(
    'CHOM_POSTGRES_URL_FILE: its role is, or may become, "mighty", which is a superuser',
  );
  expect(await refused("unbound")).toContain('"unbound", which is not bound by row-level security');
  expect(await refused("climber")).toContain('"owner_of_all", which is not bound');
});
