/** CHOM itself is lost, broker and database, and put back from its own backup that was made while it worked. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { WatchJobResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { makeAgeKeyPair } from "@chom/shared/age/age-file";
import { runConsole } from "@chom/shared/testing/console";
import { postgresClients } from "@chom/stack/database-clients";
import { silent } from "@chom/stack/progress";
import { createServiceRoles } from "@chom/stack/postgres-roles";
import { serviceNames } from "@chom/stack/service-process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { databaseOf } from "./rebuilds.ts";
import { newId, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
}, 120_000);
afterAll(() => world.stop(), 60_000);

const ask = async (options: Partial<JobOptions> = {}): Promise<string> => {
  const wish = { requestId: newId("asked"), jobName: "backup.clean", inputJson: "{}", reason: "" };
  const { jobId } = await world.clients.dispatch.dispatchJob({
    ...{ ...wish, options: JobOptions.fromPartial(options) },
  });
  return jobId;
};

/** Its whole journal, once it has ended. */
async function journalOf(jobId: string): Promise<unknown[]> {
  const entries: unknown[] = [];
  for await (const entry of world.clients.watch(jobId))
    entries.push(WatchJobResponse.toJSON(entry));
  return entries;
}
async function factsSoFar(): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id, position } of world.clients.past()) ids.push(`${position} ${id}`);
  return ids;
}

/** A broker without a stream and a database without a table, with the roles of a first installation. */
async function loseEverything(): Promise<void> {
  const { stack } = world;
  await Promise.all(serviceNames.map((name) => stack.services[name].stop()));
  await stack.nats.kill();
  rmSync(join(stack.nats.dir, "js"), { recursive: true });
  await stack.nats.restart();
  const { sql, close } = databaseOf(stack, "postgres");
  await sql`drop database chom with (force)`;
  await close();
  await stack.postgres.createDatabase("chom");
  for (const name of serviceNames) {
    const url = new URL(readFileSync(join(stack.folder, `${name}.postgres`), "utf8").trim());
    const role = { name, password: decodeURIComponent(url.password), database: "chom" };
    await createServiceRoles(stack.postgres.url, role);
  }
}

test("fault 30: what was backed up while jobs ran is back after broker and database are gone, and no job is lost or done twice", async () => {
  const { stack } = world;
  const platform = await stack.context("platform");
  const { seedFiles } = stack.identities;
  const { recipient, identity } = makeAgeKeyPair();
  const owner = join(stack.folder, "owner.url");
  writeFileSync(owner, stack.postgres.url.replace(/\/postgres$/, "/chom"), { mode: 0o600 });
  const identityFile = join(stack.folder, "system.key");
  writeFileSync(identityFile, `# kept apart\n${identity.reveal()}\n`, { mode: 0o600 });
  const copy = join(stack.folder, "copy");
  const where = [
    ...["--nats-url", stack.nats.url, "--seed-file", seedFiles.topology],
    ...["--postgres-url-file", owner],
    ...["--database-tools", await postgresClients(silent)],
  ];
  const chom = async (...args: string[]) => {
    const { code, out, err } = await runConsole(platform, args);
    return { code, said: `${out}${err}` };
  };
  const restore = () =>
    chom(
      "system",
      "restore",
      copy,
      ...where,
      "--identity-file",
      identityFile,
      "--archivist-seed-file",
      seedFiles.archivist,
    );

  const done = await Promise.all(Array.from({ length: 5 }, () => ask()));
  const journals = await Promise.all(done.map(journalOf));
  const facts = await factsSoFar();
  const later = await ask({ notBefore: new Date(Date.now() + 40_000) });
  let isCopied = false;
  const during: string[] = [];
  const asking = (async () => {
    for (; !isCopied; await sleep(100)) during.push(await ask());
  })();
  const backedUp = await chom("system", "backup", copy, ...where, "--recipient", recipient);
  isCopied = true;
  await asking;
  expect(backedUp).toMatchObject({ code: 0, said: expect.stringMatching(/keep apart/) });
  expect(during.length).toBeGreaterThan(2);

  expect(await restore()).toMatchObject({ said: expect.stringMatching(/has streams already/) });
  await loseEverything();
  // One bit is enough, and nothing is changed.
  const file = join(copy, "JOURNAL.stream.age");
  const whole = readFileSync(file);
  const bad = Buffer.from(whole);
  bad.writeUInt8((bad.at(-20) ?? 0) ^ 1, bad.length - 20);
  writeFileSync(file, bad);
  expect(await restore()).toMatchObject({ said: expect.stringMatching(/not the file that was/) });
  writeFileSync(file, whole);
  expect(await restore()).toMatchObject({ code: 0 });
  await Promise.all(serviceNames.map((name) => stack.services[name].restart()));
  expect(await chom("projections", "rebuild", "--all")).toMatchObject({ code: 0 });
  await chom("doctor", "--fix", "--force");
  await expect
    .poll(() => chom("doctor"), { timeout: 120_000, interval: 2_000 })
    .toMatchObject({ code: 0 });

  // Everything from before is as it was, at the same positions.
  expect(await Promise.all(done.map(journalOf))).toEqual(journals);
  expect((await factsSoFar()).slice(0, facts.length)).toEqual(facts);
  // What waited runs, once, and what the backup caught in the middle ends, once.
  const ends = (entries: readonly unknown[]) =>
    JSON.stringify(entries).split("JobCompleted").length - 1;
  expect(ends(await journalOf(later))).toBe(1);
  const known = await world.clients.jobs.listJobs({ ...everything });
  const caught = known.jobs.map(({ jobId }) => jobId).filter((id) => during.includes(id));
  for (const jobId of caught) expect(ends(await journalOf(jobId))).toBe(1);
  expect(ends(await journalOf(await ask()))).toBe(1);
  const ids = (await factsSoFar()).map((each) => each.split(" ")[1]);
  expect(new Set(ids).size).toBe(ids.length);
}, 600_000);

const everything = {
  ...{ family: "", name: "", states: [], siteId: "", serverId: "", tag: "", queue: "" },
  ...{ queuedAfter: undefined, queuedBefore: undefined, pageSize: 500, pageToken: "" },
  ...{ endedAfter: undefined, endedBefore: undefined, failureCode: "", chainId: "", batchId: "" },
  ...{ scheduleId: "", idPrefix: "", includeForgotten: false, minPosition: 0n },
};
