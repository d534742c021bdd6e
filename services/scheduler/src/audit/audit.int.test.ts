/** The audit as people see it: real calls of a real scheduler, its console, and a broker whose stream is spoiled. */
import { readFileSync } from "node:fs";
import { AuditServiceService } from "@chom/proto/chom/audit/v1/audit";
import { classify } from "@chom/shared/failure/failure";
import { connectRpc } from "@chom/shared/rpc/client";
import { readAudit } from "@chom/shared/audit/read-audit";
import { api, connectNats, publish, valueOf } from "@chom/shared/event-log/nats";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { apply } from "@chom/shared/topology/apply";
import { inboxPrefix, type User } from "@chom/shared/topology/names";
import { topology } from "@chom/shared/topology/topology";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jobsRpc } from "../jobs-rpc.ts";
import { jobList } from "../projections.ts";
import { queuesRpc } from "../queues-rpc.ts";
import { anchorAudit, anchorOf } from "./anchors.ts";
import { auditAnchors } from "./audit-tables.ts";
import { auditRpc } from "./audit-rpc.ts";

let ground: Ground;
let scheduler: Running;
let app: App;
let platform: string;
let acme: string;

beforeAll(async () => {
  ground = await startGround();
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        return { projections: [jobList], rpc: [jobsRpc(app), queuesRpc(app), auditRpc(app)] };
      },
    },
    { ...(await ground.environment("scheduler")), CHOM_LOG_LEVEL: "silent" },
  );
  const urls = { scheduler: scheduler.address };
  platform = await contextFor(ground, "platform", urls);
  acme = await contextFor(ground, "acme", urls);
});
afterAll(async () => {
  await scheduler?.stop();
  await ground?.stop();
});

type Shown = { number: string; action: string; outcome: string; code?: string; reason?: string };
const listed = async (context: string): Promise<Shown[]> =>
  (await runConsole(context, ["audit", "list", "--json"])).json();
const actions = async (context: string) =>
  (await listed(context)).map(({ action, outcome, code = "" }) => [
    action.split("/").at(-1),
    outcome,
    code,
  ]);

async function as(user: User) {
  const seed = new Secret(readFileSync(ground.seedFiles[user], "utf8"));
  return connectNats({
    servers: ground.nats.url,
    name: user,
    seed,
    inboxPrefix: inboxPrefix(user),
  });
}

test("a change is in the audit with its actor, reason and end; looking is not", async () => {
  const pause = ["queue", "pause", "ssl", "low", "--reason", "the store is moved"];
  expect((await runConsole(platform, pause)).code).toBe(0);
  expect((await runConsole(platform, ["queue", "stats"])).code).toBe(0);
  await expect
    .poll(() => actions(platform))
    .toEqual([
      ["PauseQueue", "asked", ""],
      ["PauseQueue", "done", ""],
    ]);
  expect((await listed(platform))[0]).toMatchObject({
    number: "1",
    actor: expect.stringMatching(/./),
    service: "scheduler",
    reason: "the store is moved",
    resources: { family: "ssl", queue: "low" },
  });
});

test("case 33, 38: asking for what is not there or not allowed is refused, and in the tenant's own audit", async () => {
  expect((await runConsole(acme, ["job", "show", "nobodys"])).code).toBe(3);
  expect((await runConsole(acme, ["queue", "pause", "ssl", "low"])).code).toBe(4);
  await expect
    .poll(() => actions(acme))
    .toEqual([
      [expect.stringMatching(/^GetJob/), "refused", "job-not-found"],
      ["PauseQueue", "asked", ""],
      ["PauseQueue", "refused", "not-permitted"],
    ]);
});

test("case 80: verifying says that all is whole, and after a spoiled stream which entry is not", async () => {
  await expect.poll(async () => (await listed(acme)).length).toBe(3);
  await anchorAudit(app);
  expect((await anchorOf(app, "acme"))?.number).toBe(3);
  const whole = await runConsole(acme, ["audit", "verify"]);
  expect(whole.out).toMatch(/all 3 entries are as they were written \(anchored up to 3\)/);
  expect(whole.code).toBe(0);

  const bodies: string[] = [];

  for await (const { body } of readAudit(app.nats, "acme")) bodies.push(body);
  const lines = bodies.join("\n").split("\n");
  const admin = await as("topology");
  const thief = await as("ssl");
  async function spoil(left: readonly string[]): Promise<void> {
    valueOf(await api(admin, "STREAM.DELETE.AUDIT"), "delete");
    await apply(admin, topology({ replicas: 1 }), { nowMs: Date.now() });
    for (const line of left) valueOf(await publish(thief, "audit.acme", line), "forge");
  }
  try {
    await spoil(lines.slice(0, 2));
    const cut = await runConsole(acme, ["audit", "verify", "--json"]);
    expect([cut.code, cut.json().brokenNumber]).toEqual([1, "3"]);
    // The anchor stays where it was.
    await anchorAudit(app);
    expect((await anchorOf(app, "acme"))?.number).toBe(3);
    await spoil(lines.with(0, (lines[0] ?? "").replace("refused", "done")));
    const changed = await runConsole(acme, ["audit", "verify"]);
    expect(changed.out).toMatch(/broken: entry 1 /);
    expect(changed.code).toBe(1);
  } finally {
    await admin.close();
    await thief.close();
  }
}, 180_000);

test("case 80: an anchor that was moved in the database does not open", async () => {
  const [row] = await app.db.select().from(auditAnchors);
  if (!row) throw new Error("no anchor");
  const sealed = Buffer.from(row.sealed);
  sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
  await app.db.update(auditAnchors).set({ sealed });
  await expect(anchorOf(app, row.chain)).rejects.toMatchObject({ code: "seal-broken" });
});

test("bad fields of a listing are named", async () => {
  const token = new Secret(await ground.issue("acme"));
  const tls = { ca: readFileSync(ground.caFile) };
  const { calls, close } = connectRpc(AuditServiceService, {
    ...{ address: scheduler.address, tls, token: () => token },
  });
  const bad = {
    ...{ afterPosition: -1n, pageSize: 501, actor: "x".repeat(129), action: "line\nbreak" },
  };
  const named = await calls.listEntries(bad).then(
    () => [],
    (error: unknown) => classify(error).violations.map(({ field }) => field),
  );
  close();
  expect(named.toSorted()).toEqual(["action", "actor", "after_position", "page_size"]);
});
