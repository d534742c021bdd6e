/** Tenants' keys on real services: made once, re-wrapped, renewed and destroyed on the console; then everything is searched. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { KeysServiceService } from "@chom/proto/chom/credentials/v1/keys";
import { JobsServiceService, JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { SchedulesServiceService } from "@chom/proto/chom/scheduler/v1/schedules";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { api, connectNats, getFromLeader, type Nats, valueOf } from "@chom/shared/event-log/nats";
import { classify } from "@chom/shared/failure/failure";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Kept, storedMessages, storedRows } from "@chom/shared/testing/everything-stored";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { leakFinder, planted } from "@chom/shared/testing/leak-finder";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { inboxPrefix } from "@chom/shared/topology/names";
import postgresClient from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";

type Process = Awaited<ReturnType<typeof startServiceProcess>>;
let ground: Ground;
let credentials: Process;
let scheduler: Process;
let toy: Running;
let nats: Nats;
let sql: postgresClient.Sql;
let platform: string;
let rootKeyFile: string;
const open: { close(): unknown }[] = [];

async function startAll() {
  // A job that waits for ever is given back at once.
  const common = { CHOM_DRAIN: "1s" };
  const networks = { ...common, CHOM_ALLOWED_NETWORKS: "127.0.0.0/8" };
  credentials = await startServiceProcess(ground, "credentials", networks);
  const asked = { ...common, CHOM_CREDENTIALS_URL: credentials.address };
  const settings = { ...asked, CHOM_DEFAULT_SCHEDULES: "false" };
  const own = { ...(await ground.environment("ssl")), ...asked };
  [scheduler, toy] = await Promise.all([
    startServiceProcess(ground, "scheduler", settings),
    startService(toyFamily(new URL("./none", import.meta.url)), own),
  ]);
  const urls = { credentials: credentials.address, scheduler: scheduler.address };
  platform = await contextFor(ground, "platform", { ...urls, ssl: toy.address });
}
const stopAll = () => Promise.all([toy?.stop(), scheduler?.stop(), credentials?.stop()]);

beforeAll(async () => {
  ground = await startGround();
  await startAll();
  rootKeyFile = (await ground.environment("backup"))["CHOM_ROOT_KEY_FILE"] ?? "";
  const seed = new Secret(readFileSync(ground.seedFiles.topology, "utf8"));
  const own = { name: "test", seed, inboxPrefix: inboxPrefix("topology") };
  nats = await connectNats({ servers: ground.nats.url, ...own });
  sql = postgresClient(ground.postgres.url.replace(/\/postgres$/, "/chom"), { max: 2 });
}, 240_000);
afterAll(async () => {
  for (const { close } of open) await close();
  await sql?.end();
  await nats?.close();
  await stopAll();
  await ground?.stop();
});

/** Calls as somebody of a tenant. */
async function as(tenant: string) {
  const token = new Secret(await ground.issue(tenant));
  const tls = { ca: readFileSync(ground.caFile) };
  const options = (address: string) => ({ address, tls, token: () => token });
  const made = {
    jobs: connectRpc(JobsServiceService, options(scheduler.address)),
    schedules: connectRpc(SchedulesServiceService, options(scheduler.address)),
    servers: connectRpc(CredentialsServiceService, options(credentials.address)),
    keys: connectRpc(KeysServiceService, options(credentials.address)),
    ssl: connectRpc(SslServiceService, options(toy.address)),
  };
  open.push(...Object.values(made));
  const { jobs, schedules, servers, keys, ssl } = made;
  const calls = { jobs: jobs.calls, schedules: schedules.calls, servers: servers.calls };
  const take = async (requestId: string, reason: string) => {
    await ssl.calls.issueCertificate({ requestId, siteId: "", reason });
    return requestId;
  };
  const detail = (jobId: string) => jobs.calls.getJobDetail({ jobId, minPosition: 0n });
  const ended = (jobId: string, state: JobState = JobState.COMPLETED) =>
    expect.poll(async () => (await detail(jobId)).job?.state, { timeout: 30_000 }).toBe(state);
  return { ...calls, keys: keys.calls, take, detail, ended };
}
const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "none",
    (error: unknown) => classify(error).code,
  );
const rowsOf = (tenant: string) =>
  sql`select version, root_id, wrapped from credentials_secrets.tenant_keys
    where tenant = ${tenant} order by version`;
const lastOf = (tenant: string) =>
  getFromLeader(nats, "KV_tenant-keys", { last_by_subj: `$KV.tenant-keys.${tenant}` });

/** Where any of these is kept, in whatever form: streams, buckets and tables, each named once. */
async function placesOf(keys: readonly Buffer[]): Promise<string[]> {
  const find = leakFinder(keys.map((key) => planted("a wrapped key", key)));
  const found = new Set<string>();
  const look = ({ place, bytes }: Kept) => {
    if (find(bytes).length > 0) found.add(place.split(" ")[0] ?? "");
  };
  for await (const each of storedMessages(nats)) look(each);
  for await (const each of storedRows(ground.postgres.url)) look(each);
  return [...found].toSorted();
}

/** The form of a host key, of nobody. */
function hostKey(): string {
  const parts = [Buffer.from("ssh-ed25519"), randomBytes(32)].flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return `ssh-ed25519 ${Buffer.concat(parts).toString("base64")}`;
}
const registration = (name: string) => ({
  ...{ requestId: `register-${name}`, name, address: "127.0.0.9", port: 22, user: "root" },
  hostKeys: [hostKey()],
});

test("services that need a new tenant's key at once get the same one, and only services get any", async () => {
  const environments = await Promise.all((["backup", "ssl"] as const).map(ground.environment));
  const clients = environments.map((environment) => {
    const read = (name: string) => readFileSync(environment[name] ?? "");
    const tls = { ca: readFileSync(ground.caFile) };
    const own = { cert: read("CHOM_TLS_CERT_FILE"), key: read("CHOM_TLS_KEY_FILE") };
    return connectRpc(KeysServiceService, {
      ...{ address: credentials.address, tls: { ...tls, ...own } },
    });
  });
  open.push(...clients);
  const acme = await as("fresh");
  const answers = await Promise.all([
    ...Array.from({ length: 12 }, (_, at) =>
      clients[at % 2]?.calls.makeTenantKey({ tenant: "fresh" }),
    ),
    acme.take("first-job", "hello"),
  ]);
  const entries = new Set(answers.map((each) => (typeof each === "string" ? "" : each?.entry)));
  entries.delete("");
  expect(entries.size).toBe(1);
  const rows = await rowsOf("fresh");
  expect(rows).toHaveLength(1);
  expect((await lastOf("fresh"))?.body).toBe([...entries][0]);
  expect(String(rows[0]?.["wrapped"])).not.toBe("");
  await acme.ended("first-job");
  expect(await codeOf(acme.keys.makeTenantKey({ tenant: "fresh" }))).toBe("not-permitted");
  expect(await codeOf(acme.keys.getKeyStatus({}))).toBe("not-permitted");
  const mine = { tenant: "fresh", althoughInUse: true, reason: "" };
  expect(await codeOf(acme.keys.eraseTenant(mine))).toBe("not-permitted");
});

test("a new root wraps all keys on the console, in pages, again without effect, and old texts open without the old root", async () => {
  const acme = await as("acme");
  await acme.take("before", "written under the old root");
  await acme.ended("before");
  const old = readFileSync(rootKeyFile, "utf8");
  const next = `next ${randomBytes(32).toString("base64")}\n`;
  await stopAll();
  writeFileSync(rootKeyFile, next + old);
  await startAll();
  const before = (await runConsole(platform, ["keys", "status", "--json"])).json();
  expect(before.newestRoot).toBe("next");
  expect(before.roots.map(({ root }: { root: string }) => root)).toContain("test");
  const turned = await runConsole(platform, [
    ...["keys", "rotate-root", "--page-size", "1", "--json"],
  ]);
  expect(turned.code).toBe(0);
  expect(turned.json()).toMatchObject({ newestRoot: "next", remaining: "0" });
  expect(Number(turned.json().rewrapped)).toBeGreaterThanOrEqual(2);
  const again = await runConsole(platform, ["keys", "rotate-root", "--json"]);
  expect(again.json()).toMatchObject({ rewrapped: "0", remaining: "0" });
  const status = await runConsole(platform, ["keys", "status"]);
  expect(status.err).toContain("no older root wraps a key");
  await stopAll();
  writeFileSync(rootKeyFile, next);
  await startAll();
  const later = await as("acme");
  expect((await later.detail("before")).inputJson).toContain("written under the old root");
}, 240_000);

test("a tenant gets a new key on the console, once per version, and texts of both open", async () => {
  const turn = ["keys", "rotate-tenant", "acme", "--from-version", "1", "--json"];
  for (const times of [1, 2]) {
    const answer = await runConsole(platform, turn);
    expect([times, answer.json().version]).toEqual([times, 2]);
  }
  const acme = await as("acme");
  await acme.take("after", "written under the second key");
  await acme.ended("after");
  expect((await acme.detail("before")).inputJson).toContain("old root");
  expect((await acme.detail("after")).inputJson).toContain("second key");
  expect(await rowsOf("acme")).toHaveLength(2);
  const absent = await runConsole(platform, ["keys", "rotate-tenant", "no-such-tenant", "--json"]);
  expect(absent.error().code).toBe("tenant-not-found");
});

test("an erased tenant: refused while in use, then nothing of it opens anywhere, readers go on, others do not notice", async () => {
  const [acme, other] = [await as("acme"), await as("other")];
  const { serverId } = await acme.servers.registerServer(registration("shop"));
  await other.take("theirs", "of somebody else");
  await other.ended("theirs");
  await acme.take("running", "wait");
  await expect
    .poll(async () => (await acme.detail("running")).job?.state, { timeout: 20_000 })
    .toBe(JobState.RUNNING);

  const dry = await runConsole(platform, ["tenant", "erase", "acme", "--dry-run", "--json"]);
  expect(dry.json()).toMatchObject({ keyVersions: 2, jobs: { count: "1", first: ["running"] } });
  const asked = await runConsole(platform, ["tenant", "erase", "acme", "--json"]);
  expect(asked.error().code).toBe("confirmation-needed");
  const used = await runConsole(platform, ["tenant", "erase", "acme", "--force", "--json"]);
  expect(used.error().code).toBe("tenant-in-use");
  const own = await runConsole(platform, ["tenant", "erase", "platform", "--force", "--json"]);
  expect(own.code).not.toBe(0);
  expect(await rowsOf("acme")).toHaveLength(2);

  const wrapped = (await rowsOf("acme")).map((row) => row["wrapped"] as Buffer);
  const places = await placesOf(wrapped);
  expect(places).toEqual(["KV_tenant-keys", "chom.credentials_secrets.tenant_keys"]);

  const erased = await runConsole(platform, [
    ...["tenant", "erase", "acme", "--force", "--although-in-use"],
    ...["--reason", "asked for", "--json"],
  ]);
  expect(erased.json()).toMatchObject({ destroyedKeys: 2 });
  expect(await placesOf(wrapped)).toEqual([]);
  const audit = await runConsole(platform, ["audit", "list", "--action", "tenant.erase", "--json"]);
  const told = { actor: "demo", reason: "asked for", resources: { tenant: "acme" } };
  expect(audit.out).toContain("tenant.erase");
  expect([audit.json()].flat().at(-1)).toMatchObject(told);
  expect((await lastOf("acme"))?.body).toMatch(/^\{"v":1,"erasedAt":"[^"]+"\}$/);
  const kept = valueOf(
    await api<{ state: { subjects?: Record<string, number> } }>(
      nats,
      "STREAM.INFO.KV_tenant-keys",
      {
        subjects_filter: "$KV.tenant-keys.acme",
      },
    ),
    "asking",
  );
  expect(kept.state.subjects).toEqual({ "$KV.tenant-keys.acme": 1 });

  // Everything that reads goes on, and shows that nothing is there to be read.
  const problem = async (jobId: string) => (await acme.detail(jobId)).inputProblem;
  await expect.poll(() => problem("before"), { timeout: 10_000 }).toBe("tenant-erased");
  expect(await problem("after")).toBe("tenant-erased");
  expect((await acme.detail("before")).inputJson).toBe("");
  const server = await acme.servers.getServer({ serverId, minPosition: 0n });
  expect(server.server?.serverId).toBe(serverId);
  // Each service finds out for itself, within a second; what it takes until then is never done.
  const late: string[] = [];
  const takeLate = async () => {
    const jobId = `late-${late.length}`;
    const code = await codeOf(acme.take(jobId, "too late"));
    if (code === "none") late.push(jobId);
    return code;
  };
  await expect.poll(takeLate, { timeout: 10_000 }).toBe("tenant-erased");
  expect(await codeOf(acme.servers.registerServer(registration("two")))).toBe("tenant-erased");
  expect((await other.detail("theirs")).inputJson).toContain("of somebody else");
  await other.take("theirs-too", "and it goes on");
  await other.ended("theirs-too");
  const again = await runConsole(platform, ["tenant", "erase", "acme", "--force", "--json"]);
  // A zero is not in canonical JSON.
  expect(again.json()).not.toHaveProperty("destroyedKeys");

  // A process that never held a key of it opens nothing either, and asks in vain for a new one.
  await stopAll();
  await startAll();
  const after = await as("acme");
  expect((await after.detail("after")).inputProblem).toBe("tenant-erased");
  expect(await codeOf(after.take("never", "too late"))).toBe("tenant-erased");
  expect(await placesOf(wrapped)).toEqual([]);
  expect((await lastOf("acme"))?.body).toMatch(/^\{"v":1,"erasedAt":"[^"]+"\}$/);
  // What was under way is over, and nobody waits for it.
  for (const jobId of ["running", ...late]) await after.ended(jobId, JobState.FAILED);
}, 240_000);
