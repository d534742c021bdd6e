import { existsSync } from "node:fs";
import postgresClient from "postgres";
import { expect, onTestFinished, test } from "vitest";
import { isAlive } from "./child-process.ts";
import { type Postgres, startPostgres } from "./postgres.ts";

async function running(options: { fsync?: boolean } = {}): Promise<Postgres> {
  const postgres = await startPostgres(options);
  onTestFinished(() => postgres.stop());
  return postgres;
}

async function ask<T>(url: string, work: (sql: postgresClient.Sql) => Promise<T>): Promise<T> {
  const sql = postgresClient(url, { max: 1, onnotice: () => {} });
  return work(sql).finally(() => sql.end());
}

test("a service's roles work in their own schemas and cannot touch another's", async () => {
  const postgres = await running();
  await postgres.createDatabase("chom");
  const role = (name: string) => postgres.createServiceRoles(name, `it's ${name}`, "chom");
  const [backup, ssl] = [await role("backup"), await role("ssl")];
  await ask(backup.ownerUrl, async (sql) => {
    await sql`create table backup.t (n int)`;
    await sql`insert into backup.t values (1)`;
    await sql`create table backup_secrets.t (n int)`;
  });
  await ask(backup.url, async (sql) => {
    await expect(sql`drop table backup.t`).rejects.toThrow(/permission denied|must be owner/);
    await expect(sql`create table backup.x (n int)`).rejects.toThrow(/permission denied/);
    await expect(sql`set role backup_owner`).rejects.toThrow(/permission denied/);
  });
  for (const url of [ssl.url, ssl.ownerUrl]) await ask(url, strangersAreRefused);
});

async function strangersAreRefused(sql: postgresClient.Sql): Promise<void> {
  await expect(sql`select * from backup.t`).rejects.toThrow(/permission denied/);
  await expect(sql`select * from backup_secrets.t`).rejects.toThrow(/permission denied/);
  await expect(sql`create table backup.x (n int)`).rejects.toThrow(/permission denied/);
  await expect(sql`create table public.x (n int)`).rejects.toThrow(/permission denied/);
  await expect(sql`create role mallory`).rejects.toThrow(/permission denied/);
  await expect(sql`drop table backup.t`).rejects.toThrow(/permission denied|must be owner/);
}

test("a wrong password is refused, on loopback too", async () => {
  const postgres = await running();
  const wrong = Object.assign(new URL(postgres.url), { password: "no" }).href;
  await expect(ask(wrong, (sql) => sql`select 1`)).rejects.toThrow(/password authentication/);
});

test("committed rows outlive SIGKILL with fsync on", async () => {
  const postgres = await running({ fsync: true });
  await ask(postgres.url, (sql) => sql`create table kept as select 42 as n`);
  const pid = postgres.pid;
  await postgres.kill();
  expect(isAlive(pid)).toBe(false);
  await postgres.restart();
  const [row] = await ask(postgres.url, (sql) => sql`select n from kept`);
  expect(row?.["n"]).toBe(42);
});

test("a stopped server is gone and its data too, and stops twice", async () => {
  const postgres = await startPostgres();
  const [row] = await ask(postgres.url, (sql) => sql`show data_directory`);
  const { pid } = postgres;
  await postgres.stop();
  await postgres.stop();
  expect(isAlive(pid)).toBe(false);
  expect(existsSync(String(row?.["data_directory"]))).toBe(false);
});
