/** `chom secrets:rotate` on the real service, and on real servers where this machine can have them. */
import { readFileSync } from "node:fs";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { type Calls, connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import postgresClient from "postgres";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

describe.skipIf(!support.ok)("secrets:rotate", () => {
  let ground: Ground;
  let vps: Vps;
  let scheduler: Awaited<ReturnType<typeof startServiceProcess>>;
  let service: typeof scheduler;
  let calls: Calls<typeof CredentialsServiceService>;
  let acme: string;
  let platform: string;
  let nobody: string;
  const ids: string[] = [];

  beforeAll(async () => {
    [ground, vps] = await Promise.all([startGround(), startVps()]);
    service = await startServiceProcess(ground, "credentials", {
      CHOM_ALLOWED_NETWORKS: "10.0.0.0/8,127.0.0.0/8",
    });
    scheduler = await startServiceProcess(ground, "scheduler");
    const { address } = service;
    const urls = { credentials: address, scheduler: scheduler.address };
    acme = await contextFor(ground, "acme", urls);
    platform = await contextFor(ground, "platform", urls);
    nobody = await contextFor(ground, "nobody", urls);
    const token = new Secret(await ground.issue("acme"));
    const tls = { ca: readFileSync(ground.caFile) };
    calls = connectRpc(CredentialsServiceService, { address, tls, token: () => token }).calls;
    for (const name of ["web-1", "web-2", "web-3"]) {
      const { serverId, authorizedKey } = await calls.registerServer({
        ...{ requestId: name, name, address: vps.address, port: 0, user: "" },
        hostKeys: vps.hostKeys,
      });
      await vps.authorizeKey(authorizedKey);
      await calls.installKey({ serverId, oneTimePassword: "", oneTimePrivateKey: "" });
      ids.push(serverId);
    }
  }, 900_000);
  afterAll(async () => {
    await service?.stop();
    await scheduler?.stop();
    await Promise.all([ground?.stop(), vps?.stop()]);
  });

  /** As if the server's key had been made so many days ago. */
  async function age(serverId: string, days: number): Promise<void> {
    const sql = postgresClient(ground.postgres.url.replace(/\/postgres$/, "/chom"), { max: 1 });
    await sql`update credentials.servers set rotated_at = null,
      registered_at = now() - make_interval(days => ${days}) where server_id = ${serverId}`;
    await sql.end();
  }
  const keysOf = async (serverId: string) =>
    (await calls.getServer({ serverId, minPosition: 0n })).server?.keys ?? [];
  const rotate = (context: string, ...more: string[]) =>
    runConsole(context, ["secrets:rotate", ...more]);

  test("requires an option to run, and never both", async () => {
    for (const args of [[], ["--all", "--vps", ids[0] ?? ""]]) {
      const { code, error } = await rotate(acme, ...args, "--json");
      expect({ code, field: error().violations[0].field }).toEqual({ code: 2, field: "--all" });
    }
  });

  test("shows that no rotation is needed when all keys are young", async () => {
    const { code, out, err } = await rotate(acme, "--all");
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err).toContain("no rotation needed");
    const { json } = await rotate(acme, "--all", "--json");
    expect(json()).toEqual({ servers: [], maxAgeDays: 90, rotates: 0 });
  });

  test("a non-existent server is not found, and another tenant's is none", async () => {
    const missing = await rotate(acme, "--vps=nowhere", "--json");
    expect({ code: missing.code, error: missing.error().code }).toEqual({
      code: 3,
      error: "server-not-found",
    });
    expect((await rotate(nobody, `--vps=${ids[0]}`, "--force", "--json")).code).toBe(3);
    expect((await rotate(nobody, "--all", "--force", "--json")).json().servers).toEqual([]);
  });

  test("a dry run shows server, last rotation and days overdue, and rotates nothing", async () => {
    await age(ids[0] ?? "", 100);
    const { code, json } = await rotate(acme, "--all", "--dry-run", "--json");
    expect(code).toBe(0);
    expect(json()).toMatchObject({
      rotates: 1,
      servers: [{ serverId: ids[0], name: "web-1", daysOverdue: 10, due: true }],
    });
    const shown = await runConsole(acme, ["secrets", "rotate", "--all", "--dry-run"]);
    const row = new RegExp(`^${ids[0]}\tweb-1\tacme\t\\d{4}-\\d\\d-\\d\\d [^\t]+\t10\t$`, "m");
    expect(shown.out).toMatch(row);
    const forced = await rotate(platform, "--all", "--dry-run", "--force", "--json");
    expect(forced.json().rotates).toBe(3);
    expect(await keysOf(ids[0] ?? "")).toHaveLength(1);
  });

  test("rotates all that are due and nothing else, with the steps as they happen", async () => {
    const { code, out, err } = await rotate(acme, "--all");
    expect({ code, err }).toMatchObject({ code: 0, err: expect.stringContaining("start wave 1") });
    expect(out).toMatch(new RegExp(`^${ids[0]}\tweb-1\trotated\t`, "m"));
    expect((await keysOf(ids[0] ?? "")).map(({ status }) => status)).toEqual([
      "KEY_STATUS_OVERLAP",
      "KEY_STATUS_CURRENT",
    ]);
    expect(await keysOf(ids[1] ?? "")).toHaveLength(1);
  });

  test("rotates a specific server alone: by force although its key is young, and not without", async () => {
    const young = await rotate(acme, `--vps=${ids[2]}`);
    expect(young).toMatchObject({ code: 0, err: expect.stringContaining("no rotation needed") });
    expect(await keysOf(ids[2] ?? "")).toHaveLength(1);
    const { code, json } = await rotate(platform, `--vps=${ids[2]}`, "--force", "--json");
    expect(code).toBe(0);
    expect(json().results).toMatchObject([
      { serverId: ids[2], outcome: "rotated", tenant: "acme" },
    ]);
    expect(await keysOf(ids[2] ?? "")).toHaveLength(2);
    expect(await keysOf(ids[1] ?? "")).toHaveLength(1);
  });

  test("a server whose rotation is not over yet waits, and that is said", async () => {
    await age(ids[0] ?? "", 120);
    const { code, json } = await rotate(acme, "--all", "--json");
    expect(code).toBe(0);
    expect(json()).toMatchObject({ rotates: 0, servers: [{ hindrance: "rotating" }] });
  });

  test("reports a rotation that failed and ends with 1", async () => {
    await vps.exec(["sh", "-c", ": > /home/chom/.ssh/authorized_keys"]);
    const { code, out, err } = await rotate(acme, `--vps=${ids[1]}`, "--force");
    expect({ code, err }).toMatchObject({
      code: 1,
      err: expect.stringContaining("1 of 1 rotations failed"),
    });
    expect(out).toMatch(new RegExp(`^${ids[1]}\tweb-2\tfailed\t.*\\(ssh-auth-failed\\)$`, "m"));
  });

  test("a server whose rotation waits for a person is refused by name, and keeps its key", async () => {
    const { code, error } = await rotate(acme, `--vps=${ids[1]}`, "--force", "--json");
    expect({ code, error: error().code }).toEqual({ code: 4, error: "rotation-hindered" });
    expect((await keysOf(ids[1] ?? "")).some(({ status }) => status === "KEY_STATUS_CURRENT")).toBe(
      true,
    );
  });
});
