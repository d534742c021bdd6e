/** Read models as the console lists them, their rows as Postgres writes them, and building them again. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { AlertRaised } from "@chom/proto/chom/scheduler/v1/alerts";
import { BatchSpec, ChainSpec } from "@chom/proto/chom/scheduler/v1/flows";
import { ScheduleSpec } from "@chom/proto/chom/scheduler/v1/schedules";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { encodeEvent } from "@chom/shared/event-log/codec";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { connectNats } from "@chom/shared/event-log/nats";
import { keyring } from "@chom/shared/secrets/keyring";
import { inboxPrefix } from "@chom/shared/topology/names";
import type { EmbeddedStack } from "@chom/stack/embedded-stack";
import { Secret } from "@chom/shared/secrets/secret";
import { openPostgres, type Postgres } from "@chom/shared/service/postgres";
import { runConsole } from "@chom/shared/testing/console";
import { storedEntries } from "./stored-entries.ts";
import { newId, type World } from "./world.ts";

type Listed = { readonly service: string; readonly name: string; readonly tables: string[] };
type Rebuilt = {
  readonly service: string;
  readonly name: string;
  readonly rowsChanged?: string;
};

/** The stack's database, as one who sees all tenants. */
export const databaseOf = (stack: EmbeddedStack, database = "chom"): Postgres =>
  openPostgres(new Secret(stack.postgres.url.replace(/\/postgres$/, `/${database}`)), "e2e", 2);

/** Every read model of every service. */
export async function listed(context: string): Promise<Listed[]> {
  const { out, err } = await runConsole(context, ["projections", "list", "--json"]);
  if (err !== "") throw new Error(err);
  return JSON.parse(out);
}

/** Their tables, `service.table`, each once. */
export const tablesOf = (projections: readonly Listed[]): string[] =>
  [
    ...new Set(projections.flatMap(({ service, tables }) => tables.map((t) => `${service}.${t}`))),
  ].toSorted();

/**
 * Every row of every table, byte for byte as Postgres writes it. Of open jobs without those that ended, which the sweeper
 * takes away when it pleases, and without `notes` only what their journals say: the rest is what sweeper and admitter noted.
 */
export async function rowsOf(
  sql: Postgres["sql"],
  tables: readonly string[],
  { notes = true } = {},
): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const table of tables) {
    const isOpenJobs = table.endsWith(".open_jobs");
    const what = isOpenJobs && !notes ? "(tenant, job_id, job_name, queue, position)" : "t";
    const which = isOpenJobs ? "where not is_over" : "";
    const rows = await sql.unsafe(
      `select ${what}::text as row from ${table} t ${which} order by 1`,
    );
    found[table] = rows.map((each) => String(each["row"]));
  }
  return found;
}

/** Builds all of them again; answers what the console told of each. */
export async function rebuildAll(context: string): Promise<Rebuilt[]> {
  const { code, out, err } = await runConsole(context, [
    "projections",
    "rebuild",
    "--all",
    "--json",
  ]);
  if (code !== 0) throw new Error(err);
  return out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** The answer of work during which nothing was appended: whoever looks at the clock meanwhile may append something. */
export async function whileQuiet<T>(stack: EmbeddedStack, work: () => Promise<T>): Promise<T> {
  for (let tries = 0; tries < 10; tries += 1) {
    const before = await storedEntries(stack);
    const done = await work();
    const after = await storedEntries(stack);
    if (before["EVENTS"] === after["EVENTS"] && before["JOURNAL"] === after["JOURNAL"]) return done;
  }
  throw new Error("something is appended all the time");
}

/** Jobs that somebody works on, or should. */
export async function openCount(
  sql: Postgres["sql"],
  services: readonly string[],
): Promise<number> {
  let open = 0;
  for (const service of services) {
    const [row] = await sql.unsafe(
      `select count(*)::int as n from ${service}.open_jobs where not is_over and due_at < now()`,
    );
    open += Number(row?.["n"]);
  }
  return open;
}

/** Raises an alert as the scheduler does. */
async function raiseAlert(stack: EmbeddedStack): Promise<void> {
  const nats = await connectNats({
    ...{ servers: stack.nats.url, name: "e2e", inboxPrefix: inboxPrefix("scheduler") },
    seed: new Secret(readFileSync(stack.identities.seedFiles.scheduler, "utf8")),
  });
  try {
    const data = { rule: "queue-depth", subject: "backup", value: 11, threshold: 10 };
    const subject = "evt.platform.alert.rebuilt";
    const envelope = {
      id: "alert-1",
      subject,
      time: new Date(),
      source: "scheduler",
      actor: "e2e",
    };
    const cause = { causationId: "", correlationId: "", traceparent: "" };
    const event = eventTypes({ AlertRaised }).AlertRaised(
      AlertRaised.fromPartial({ ...data, episode: 1 }),
    );
    const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);
    await jetstreamLog(nats).append("EVENTS", subject, 0, [
      encodeEvent(event, { ...envelope, ...cause }, sealer),
    ]);
  } finally {
    await nats.close();
  }
}

/** What the story does not tell: a token, a schedule with a tick, a chain, a batch, a refusal, a dump and an alert. */
export async function tellTheRest({
  stack,
  clients,
}: Pick<World, "stack" | "clients">): Promise<void> {
  const acme = await stack.context("acme");
  const platform = await stack.context("platform");
  for (const [context, ...args] of [
    [acme, "token", "create", "--name", "ci", "--role", "viewer"],
    [platform, "backup:database", "--wait", "--no-test"],
  ] as const) {
    const { code, err } = await runConsole(context, args);
    if (code !== 0) throw new Error(err);
  }
  const at = new Date(Date.now() + 86_400_000);
  const { scheduleId } = await clients.schedules.createSchedule({
    requestId: newId("schedule"),
    spec: ScheduleSpec.fromPartial({ name: "later", jobName: "backup.clean", at }),
  });
  await clients.schedules.runSchedule({ scheduleId, requestId: newId("now") });
  await clients.schedules.pauseSchedule({ scheduleId, reason: "enough", until: undefined });
  const good = { jobName: "backup.clean", inputJson: "{}" };
  const input = { siteId: "absent-site", kind: "BACKUP_KIND_FULL" };
  const bad = { jobName: "backup.create", inputJson: JSON.stringify(input) };
  await clients.flows.createChain({
    ...{
      requestId: newId("chain"),
      spec: ChainSpec.fromPartial({ name: "c", links: [good, bad] }),
    },
  });
  await clients.flows.createBatch({
    ...{ requestId: newId("batch"), moreFollow: false },
    spec: BatchSpec.fromPartial({ name: "b", jobs: [good, bad] }),
  });
  await raiseAlert(stack);
}
