/** Every RPC with every kind of another tenant's id: not found, and nothing of it in any answer. */
import { BackupKind, BackupServiceService } from "@chom/proto/chom/backup/v1/backup";
import { DatabaseBackupsServiceService } from "@chom/proto/chom/backup/v1/databases";
import { RetentionServiceService } from "@chom/proto/chom/backup/v1/retention";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { RotationsServiceService } from "@chom/proto/chom/credentials/v1/rotations";
import { TokensServiceService } from "@chom/proto/chom/credentials/v1/tokens";
import { EventsServiceService } from "@chom/proto/chom/events/v1/events";
import { FailedJobs, JobsServiceService } from "@chom/proto/chom/jobs/v1/jobs";
import { OverviewServiceService } from "@chom/proto/chom/jobs/v1/overview";
import {
  ProvisioningServiceService,
  SiteKind,
} from "@chom/proto/chom/provisioning/v1/provisioning";
import { FlowsServiceService } from "@chom/proto/chom/scheduler/v1/flows";
import { SchedulesServiceService } from "@chom/proto/chom/scheduler/v1/schedules";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { permissions } from "@chom/proto/permissions";
import { resources } from "@chom/proto/resources";
import { classify } from "@chom/shared/failure/failure";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { openPostgres, type Postgres } from "@chom/shared/service/postgres";
import type { ServiceName } from "@chom/stack/service-process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { storedEntries } from "./stored-entries.ts";
import { startWorld, type World } from "./world.ts";

/** Stands in every text of the foreign rows. */
const marker = "foreignmarker";
const foreignId = (kind: string): string => `foreign-${kind.replaceAll("_", "-")}`;
const kinds = [...new Set(Object.values(resources).flatMap((fields) => Object.values(fields)))];

/** Read models that hold one row of the other tenant each; what sweeps look at is left out. */
const tables = [
  ...["backup.points", "backup.restores", "backup.database_backups"],
  ...["credentials.servers", "credentials.server_keys", "credentials.api_tokens"],
  ...["provisioning.sites", "ssl.certificates"],
  ...["backup.site_backups", "scheduler.job_buckets"],
  ...["scheduler.jobs", "scheduler.schedules", "scheduler.chains", "scheduler.batches"],
];

const homes: readonly (readonly [object, ServiceName])[] = [
  [BackupServiceService, "backup"],
  [DatabaseBackupsServiceService, "backup"],
  [RetentionServiceService, "backup"],
  [CredentialsServiceService, "credentials"],
  [RotationsServiceService, "credentials"],
  [TokensServiceService, "credentials"],
  [EventsServiceService, "scheduler"],
  [JobsServiceService, "scheduler"],
  [OverviewServiceService, "scheduler"],
  [ProvisioningServiceService, "provisioning"],
  [FlowsServiceService, "scheduler"],
  [SchedulesServiceService, "scheduler"],
  [SslServiceService, "ssl"],
];

type Method = {
  path: string;
  responseStream: boolean;
  requestDeserialize: (bytes: Buffer) => Record<string, unknown>;
};
type Call = (request: unknown, settings?: object) => Promise<unknown> | AsyncIterable<unknown>;
type Rpc = Method & { name: string; call: Call };

let world: World;
let pool: Postgres;
let sql: Postgres["sql"];
const closers: (() => void)[] = [];
let mine: readonly Rpc[] = [];
let theirs: readonly Rpc[] = [];

async function rpcsOf(tenant: string): Promise<readonly Rpc[]> {
  const token = new Secret(await world.stack.token(tenant));
  return homes.flatMap(([definition, service]) => {
    const methods = definition as Record<string, Method>;
    const tls = { ca: Buffer.from(world.stack.caPem) };
    const { address } = world.stack.services[service];
    const options = { address, tls, token: () => token };
    const { calls, close } = connectRpc(methods as never, options);
    closers.push(close);
    return Object.entries(methods).map(([name, method]) => ({
      ...method,
      name,
      call: (calls as Record<string, Call>)[name] as Call,
    }));
  });
}

/** What must be one of its enum's words to be shown at all. */
const words: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "provisioning.sites": { status: "active", kind: "SITE_KIND_STATIC" },
  "backup.points": { status: "BACKUP_STATUS_VERIFIED", kind: "BACKUP_KIND_FULL" },
};

/** A value of each kind of column; ids say what they are ids of. */
function valueOf(at: string, column: string, type: string): string {
  if (column === "tenant") return "'other'";
  if (/_id$/.test(column)) return `'${foreignId(column.slice(0, -3))}'`;
  if (column === "state") return "'JOB_STATE_FAILED'";
  const word = words[at]?.[column] ?? (column === "status" ? "finished" : undefined);
  if (word !== undefined) return `'${word}'`;
  if (type === "jsonb") return "'[]'";
  if (type === "ARRAY") return "'{}'";
  if (type === "boolean") return "false";
  if (/int|double/.test(type)) return "1";
  return /time/.test(type) ? "now()" : `'${marker}'`;
}

async function insertForeign(table: string): Promise<void> {
  const [schema = "", name = ""] = table.split(".");
  const columns = await sql<{ column: string; type: string }[]>`
    select column_name as column, data_type as type from information_schema.columns
    where table_schema = ${schema} and table_name = ${name}
      and (is_nullable = 'NO' or column_name = 'ended_at')`;
  const names = columns.map(({ column }) => `"${column}"`).join(", ");
  const values = columns.map(({ column, type }) => valueOf(table, column, type)).join(", ");
  await sql.unsafe(`insert into ${table} (${names}) values (${values})`);
}

beforeAll(async () => {
  world = await startWorld({ settings: { scheduler: { CHOM_DEFAULT_SCHEDULES: "false" } } });
  const url = new Secret(world.stack.postgres.url.replace(/\/postgres$/, "/chom"));
  pool = openPostgres(url, "matrix", 1);
  sql = pool.sql;
  for (const table of tables) await insertForeign(table);
  [mine, theirs] = await Promise.all([rpcsOf("acme"), rpcsOf("other")]);
});
afterAll(async () => {
  for (const close of closers) close();
  await pool?.close();
  await world?.stop();
});

/** What a request needs beside its ids to get as far as looking for them. */
const needed: Readonly<Record<string, unknown>> = {
  requestId: "matrix-1",
  domain: "matrix.example.com",
  kind: BackupKind.FULL,
  source: "matrix",
  targetDatabase: "matrix",
  aggregate: "site",
  stopAtEnd: true,
};

/** A request with this one id in every field that names something. */
function requestWith({ path, requestDeserialize }: Rpc, id: string): Record<string, unknown> {
  const request = requestDeserialize(Buffer.alloc(0));
  for (const [field, value] of Object.entries(needed)) {
    if (field in request) request[field] = value;
  }
  if (path.endsWith("/ProvisionSite")) request["kind"] = SiteKind.STATIC;
  const fields = Object.keys(resources[path] ?? {});
  for (const field of fields.filter((name) => !name.includes("."))) request[field] = id;
  if (fields.includes("jobs.jobIds")) request["jobs"] = FailedJobs.fromPartial({ jobIds: [id] });
  return request;
}

async function answerOf({ call, responseStream }: Rpc, request: unknown): Promise<string> {
  try {
    const answers: unknown[] = [];
    if (responseStream) {
      for await (const each of call(request) as AsyncIterable<unknown>) answers.push(each);
    } else answers.push(await (call(request) as Promise<unknown>));
    const shown = JSON.stringify(answers, (_, value) =>
      typeof value === "bigint" ? Number(value) : value,
    );
    return `answered ${shown}`;
  } catch (error) {
    const { kind, message } = classify(error);
    return `${kind}: ${message}`;
  }
}

const named = (rpcs: readonly Rpc[]) =>
  rpcs.filter(({ path }) => permissions[path] !== "service" && resources[path] !== undefined);

/** Calls that answer whatever they find: lists and filters, and results by id. */
const answering = /^(list|subscribe|watchJobs|retryJobs|forgetJobs|preview)/;

/** Refused before any id is looked at: the platform's alone, and a whole specification that is judged first. */
const before: Readonly<Record<string, RegExp>> = {
  restoreDatabaseBackup: /^security: /,
  changeSchedule: /^invalid: spec/,
};

/** What is wrong, in words; empty when every call hides what is not the caller's. */
async function leaks(): Promise<string[]> {
  const found: string[] = [];
  for (const rpc of named(mine)) {
    for (const kind of kinds) {
      const answer = await answerOf(rpc, requestWith(rpc, foreignId(kind)));
      const isHidden =
        answer.startsWith("not-found: ") ||
        before[rpc.name]?.test(answer) ||
        (answering.test(rpc.name) && /^(answered|not-found|invalid|security)/.test(answer));
      if (!isHidden || answer.includes(marker)) found.push(`${rpc.path} ${kind}: ${answer}`);
    }
  }
  return found;
}

test("the matrix has every method whose request names something", () => {
  const declared = Object.keys(resources).filter((path) => permissions[path] !== "service");
  const here = named(mine).map(({ path }) => path);
  const elsewhere = declared.filter((path) => !here.includes(path));
  expect(elsewhere).toEqual([]);
  expect(here.length * kinds.length).toBeGreaterThan(250);
});

test("the rows are there: their own tenant is answered with them", async () => {
  const seen = async (name: string, kind: string) => {
    const rpc = theirs.find((each) => each.name === name);
    if (!rpc) throw new Error(`no ${name}`);
    return answerOf(rpc, requestWith(rpc, foreignId(kind)));
  };
  const found: Record<string, string> = {};
  for (const [name, kind] of [
    ["getServer", "server"],
    ["getSite", "site"],
    ["getCertificate", "site"],
    ["getBackup", "backup"],
    ["getChain", "chain"],
    ["getBatch", "batch"],
  ] as const) {
    found[name] = (await seen(name, kind)).replace(/^answered .*foreign-.*$/, "answered");
  }
  const all = ["getServer", "getSite", "getCertificate", "getBackup", "getChain", "getBatch"];
  expect(found).toEqual(Object.fromEntries(all.map((name) => [name, "answered"])));
});

test("case 33, 35, 37: every method hides every kind of another tenant's id, and writes nothing", async () => {
  const stored = await storedEntries(world.stack);
  expect(await leaks()).toEqual([]);
  expect(await storedEntries(world.stack)).toEqual(stored);
});

test("case 33: lists hold no row of another tenant", async () => {
  const all = mine.filter(({ name }) => /^(list|get.*(Overview|Throughput)$)/.test(name));
  expect(all.length).toBeGreaterThan(8);
  for (const rpc of all) {
    const answer = await answerOf(rpc, rpc.requestDeserialize(Buffer.alloc(0)));
    expect([rpc.name, answer.includes(marker), answer.includes("foreign-")]).toEqual([
      ...[rpc.name, false, false],
    ]);
  }
  const jobs = mine.find(({ name }) => name === "listJobs");
  if (!jobs) throw new Error("no listJobs");
  expect(await answerOf(jobs, jobs.requestDeserialize(Buffer.alloc(0)))).toContain("answered");
});

test("case 33: the handlers alone hide it too, with row-level security taken away", async () => {
  const walls = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name from pg_class c where c.relforcerowsecurity`;
  expect(walls.length).toBeGreaterThan(tables.length);
  for (const { name } of walls) await sql.unsafe(`alter table ${name} disable row level security`);
  expect(await leaks()).toEqual([]);
});
