/** The main job, end to end, on a real server: what `pnpm demo` shows, asserted. */
import { ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { pull } from "@chom/shared/event-log/pull";
import { apply } from "@chom/shared/topology/apply";
import { topology } from "@chom/shared/topology/topology";
import { tellStory, type Told } from "@chom/stack/demo/story";
import { shortName } from "@chom/stack/demo/event-feed";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { runConsole } from "@chom/shared/testing/console";
import { families } from "@chom/shared/topology/names";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  databaseOf,
  listed,
  openCount,
  rebuildAll,
  rowsOf,
  tablesOf,
  tellTheRest,
  whileQuiet,
} from "./rebuilds.ts";
import { connectAsTopology } from "./stored-entries.ts";
import { newId, startWorld, type World } from "./world.ts";

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: the main job on a real server: ${support.reason}`);

describe.skipIf(!support.ok)("the main job on a real server", () => {
  let world: World;
  let vps: Vps;
  let told: Told;
  beforeAll(async () => {
    // Every script of every family through the runner; the demo and all other tests go without it.
    world = await startWorld({ settings: { credentials: { CHOM_SSH_RUNNER: "on" } } });
    vps = await startVps({});
    const oneTimePassword = newId("password");
    await vps.setPassword(oneTimePassword);
    told = await tellStory({
      clients: world.clients,
      feed: world.feed,
      server: {
        address: vps.address,
        port: vps.sshPort,
        user: vps.user,
        hostKeys: vps.hostKeys,
        oneTimePassword,
        inside: vps.exec,
      },
      domain: "main.chom.test",
      overlapSeconds: 2,
      pointDomain: () => world.stack.pebble.addAddress("main.chom.test", vps.address),
      issuerRoot: world.stack.pebble.issuerRoot,
      newId,
      tell: (line) => console.log(`  ${line}`),
    });
  });
  afterAll(async () => {
    await world?.stop();
    await vps?.stop();
  });

  test("every comparison holds", () => {
    expect(told.comparisons.filter(({ held }) => !held)).toEqual([]);
    expect(told.comparisons).toHaveLength(7);
  });

  test("case 81: all of it went through the runner: the key on the server can start nothing else", async () => {
    const { stdout } = await vps.exec(["cat", `/home/${vps.user}/.ssh/authorized_keys`]);
    const keys = stdout.split("\n").filter((line) => line.includes(" ssh-ed25519 "));
    expect(keys.length).toBeGreaterThan(0);
    for (const line of keys) {
      expect(line).toMatch(/^restrict,command="exec \/usr\/local\/lib\/chom\/runner" ssh-ed25519 /);
    }
  });

  test("each fact is told once and in order", () => {
    const names = world.feed.seen.map(shortName);
    const inOrder = [
      "ServerRegistered",
      "ServerActivated",
      "SiteProvisioned",
      "CertificateIssued",
      "BackupCreated",
      "BackupCompleted",
      "RestoreStarted",
      "RestoreCompleted",
      "KeyStaged",
      "KeyPromoted",
      "KeyRetired",
    ];
    expect(
      names.filter((name, index) => inOrder.includes(name) && names.indexOf(name) === index),
    ).toEqual(inOrder);
    for (const once of ["SiteProvisioned", "CertificateIssued", "RestoreCompleted", "KeyRetired"]) {
      expect(names.filter((name) => name === once)).toEqual([once]);
    }
    const ids = world.feed.seen.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("the stream of events resumes from a position", async () => {
    const middle = world.feed.seen[Math.floor(world.feed.seen.length / 2)];
    const { events, stop } = world.clients.follow(middle?.position);
    const next = await events[Symbol.asyncIterator]().next();
    stop();
    const index = world.feed.seen.findIndex(({ id }) => id === middle?.id);
    expect(next.value?.id).toBe(world.feed.seen[index + 1]?.id);
  });

  test("another program follows with a durable consumer of its own", async () => {
    const nats = await connectAsTopology(world.stack);
    const billing = {
      stream: "EVENTS",
      name: "billing",
      config: { ack_policy: "explicit", filter_subject: "evt.acme.*.*" },
    };
    const table = topology({ replicas: 1, externalConsumers: [billing] });
    await apply(nats, table, { nowMs: Date.now(), backfill: ["EVENTS/billing"] });
    const pulling = { stream: "EVENTS", consumer: "billing", batch: 200, waitMs: 2_000 };
    const messages = await pull(nats, pulling);
    await nats.close();
    expect(messages.map((message) => message.header("ce-id"))).toEqual(
      world.feed.seen.map(({ id }) => id),
    );
    const provisioned = messages.find((message) =>
      message.header("ce-type").endsWith(".SiteProvisioned"),
    );
    expect(provisioned?.header("ce-specversion")).toBe("1.0");
    expect(provisioned?.header("ce-source")).toBe("provisioning");
    expect(provisioned?.header("ce-subject")).toBe(`site/${told.ids["siteId"]}`);
    expect(JSON.parse(provisioned?.body ?? "{}")).toMatchObject({ siteId: told.ids["siteId"] });
  });

  test("no other tenant sees any of it", async () => {
    const other = await world.as("other");
    const { jobs } = await other.jobs.listJobs(ListJobsRequest.fromPartial({ pageSize: 100 }));
    expect(jobs).toEqual([]);
    await expect(
      other.provisioning.getSite({ siteId: told.ids["siteId"] ?? "", minPosition: 0n }),
    ).rejects.toMatchObject({ kind: "not-found" });
  });

  test("no secret of the stack is in any service's log", async () => {
    const { readFileSync } = await import("node:fs");
    for (const service of Object.values(world.stack.services)) {
      const log = readFileSync(service.logFile, "utf8");
      expect(log).not.toMatch(/PRIVATE KEY|AGE-SECRET-KEY|eyJhbGciOi/);
    }
  });

  test("fault 29: every read model of every service is built again the same, byte for byte, also of pruned journals", async () => {
    const { stack } = world;
    const platform = await stack.context("platform");
    const postgres = databaseOf(stack);
    onTestFinished(() => postgres.close());
    const { sql } = postgres;
    await tellTheRest(world);
    await expect.poll(() => openCount(sql, families), { timeout: 120_000 }).toBe(0);
    await stack.services.scheduler.restart({ CHOM_JOURNAL_RETENTION: "1s" });
    const pruned = () => sql`select 1 from scheduler.history_jobs where purged_at is not null`;
    await expect.poll(async () => (await pruned()).length, { timeout: 60_000 }).toBeGreaterThan(3);
    const all = await listed(platform);
    const tables = tablesOf(all);
    const { live, told, rebuilt } = await whileQuiet(stack, async () => {
      const before = await rowsOf(sql, tables);
      const steps = await rebuildAll(platform);
      return { live: before, told: steps, rebuilt: await rowsOf(sql, tables) };
    });
    expect(rebuilt).toEqual(live);
    expect(told.map(({ name }) => name).toSorted()).toEqual(all.map(({ name }) => name).toSorted());
    const isEmpty = ([, rows]: [string, readonly string[]]) => rows.length === 0;
    const empty = Object.entries(live)
      .filter(isEmpty)
      .map(([table]) => table);
    // Nothing waits for a person here, so that these are rightly empty; what is in them in between is tried elsewhere.
    expect(empty.filter((table) => !table.endsWith(".open_jobs"))).toEqual([]);
    // And from nothing.
    const anew = await whileQuiet(stack, async () => {
      const before = await rowsOf(sql, tables, { notes: false });
      await sql.unsafe(`truncate ${tables.join(", ")}`);
      await rebuildAll(platform);
      return { before, after: await rowsOf(sql, tables, { notes: false }) };
    });
    expect(anew.after).toEqual(anew.before);
    expect((await runConsole(platform, ["doctor"])).out).not.toMatch(/CRITICAL/);
  }, 600_000);
});
