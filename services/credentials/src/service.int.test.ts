import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import {
  CredentialsServiceService,
  KeyStatus,
  ServerStatus,
  SignerServiceService,
} from "@chom/proto/chom/credentials/v1/credentials";
import { RotateKeyInput, ServerActivated } from "@chom/proto/chom/credentials/v1/events";
import { aggregate } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Failure } from "@chom/shared/failure/failure";
import { type Done, job } from "@chom/shared/job/job";
import { type Calls, connectRpc } from "@chom/shared/rpc/client";
import { script } from "@chom/shared/script/script";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { signerDenials } from "@chom/shared/service/signer-denials";
import { type Running, startService } from "@chom/shared/service/start";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const happened = eventTypes({ ServerActivated });
const seen: string[] = [];
const nothing = () => [];
/** Somebody else's family: its jobs log in through the signer. */
const certificates = aggregate({
  name: "certificate",
  events: happened,
  initial: () => ({}),
  evolve: { ServerActivated: (state) => state },
  commands: {
    done: (state: object, ended: Done<RotateKeyInput, { looked: boolean }>) =>
      ended.result.looked && state ? [] : [],
    failed: nothing,
    cancelled: nothing,
  },
});

type Hold = { readonly file: string; readonly other: { serverId: string } };
const peekJob = ({ file, other }: Hold, hold: Promise<void>) => {
  const look = script({
    file: new URL(`file://${file}`),
    timeoutMs: 20_000,
    variables: ({ n }: { n: number }) => ({ N: String(n) }),
    output: (fields) => ({ who: fields.text("who") }),
  });
  return job(certificates, {
    name: "peek",
    input: RotateKeyInput,
    of: ({ serverId }) => serverId,
    server: ({ serverId }) => serverId,
    done: "done",
    failed: "failed",
    cancelled: "cancelled",
    queue: "default",
    tries: 1,
    timeoutMs: 60_000,
    backoffMs: [1_000],
    async work({ serverId }, run) {
      seen.push((await run.script("look", look, serverId, { n: 1 })).who, run.fence);
      try {
        await run.ask(look, other.serverId, { n: 2 });
        seen.push("other server let in");
      } catch (error) {
        seen.push((error as Failure).code);
      }
      await hold;
      return { looked: true };
    },
  });
};

describe.skipIf(!support.ok)("the service", () => {
  let ground: Ground;
  let vps: Vps;
  let address = "";
  let stop = async () => {};
  let calls: Calls<typeof CredentialsServiceService>;
  let others: Calls<typeof CredentialsServiceService>;
  let serverId = "";

  /** The real process, as it is deployed. */
  async function start(): Promise<void> {
    const env = await ground.environment("credentials");
    const main = new URL("./main.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [main], {
      env: {
        PATH: process.env["PATH"],
        ...env,
        CHOM_LOG_LEVEL: "info",
        CHOM_ALLOWED_NETWORKS: "10.0.0.0/8,127.0.0.0/8",
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    stop = async () => {
      if (child.exitCode === null) child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    };
    for await (const line of createInterface(child.stdout)) {
      const entry = JSON.parse(line) as { msg?: string; address?: string };
      if (entry.msg !== "serving") continue;
      address = entry.address ?? "";
      break;
    }
    child.stdout.resume();
  }

  const tls = () => ({ ca: readFileSync(ground.caFile) });
  const as = async (tenant: string) => {
    const token = new Secret(await ground.issue(tenant));
    return connectRpc(CredentialsServiceService, { address, tls: tls(), token: () => token }).calls;
  };

  beforeAll(async () => {
    [ground, vps] = await Promise.all([startGround(), startVps()]);
    await start();
    [calls, others] = [await as("tenant-1"), await as("tenant-2")];
  }, 900_000);
  afterAll(async () => {
    await stop();
    await Promise.all([ground?.stop(), vps?.stop()]);
  });

  const registration = () => ({
    requestId: "register-1",
    name: "web-1",
    address: vps.address,
    port: 0,
    user: "",
    hostKeys: vps.hostKeys,
  });
  const get = async (minPosition = 0n) => (await calls.getServer({ serverId, minPosition })).server;

  test("a server is registered once, activated by a login with its key, and seen by its tenant only", async () => {
    const first = await calls.registerServer(registration());
    serverId = first.serverId;
    expect(await calls.registerServer(registration())).toEqual(first);
    await expect(calls.registerServer({ ...registration(), name: "other" })).rejects.toMatchObject({
      code: "already-exists",
    });
    expect((await get(first.position))?.status).toBe(ServerStatus.PENDING);
    const install = { serverId, oneTimePassword: "", oneTimePrivateKey: "" };
    await expect(calls.installKey(install)).rejects.toMatchObject({ code: "ssh-auth-failed" });
    await vps.setPassword("only-once-123");
    const installed = await calls.installKey({ ...install, oneTimePassword: "only-once-123" });
    await vps.lockPassword();
    const active = await get(installed.position);
    expect(active?.status).toBe(ServerStatus.ACTIVE);
    expect(active?.keys.map(({ status }) => status)).toEqual([KeyStatus.CURRENT]);
    const listed = await calls.listServers({ pageSize: 0, pageToken: "", minPosition: 0n });
    expect(listed.servers.map((each) => each.serverId)).toEqual([serverId]);
    await expect(others.getServer({ serverId, minPosition: 0n })).rejects.toMatchObject({
      kind: "not-found",
    });
    await expect(others.installKey(install)).rejects.toMatchObject({ kind: "not-found" });
    const theirs = await others.listServers({ pageSize: 0, pageToken: "", minPosition: 0n });
    expect(theirs.servers).toEqual([]);
  }, 30_000);

  test("case 39, 40, 67: the signer serves the running job of the caller's family on its own server, and nothing else", async () => {
    const file = join(ground.folder, "look.sh");
    writeFileSync(file, 'out who "$(id -un)"\n');
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const environment = await ground.environment("ssl");
    const other = await calls.registerServer({ ...registration(), requestId: "register-2" });
    const peek = peekJob({ file, other }, held);
    let app: App | undefined;
    const nats = () => {
      if (!app) throw new Error("the service has not begun");
      return app.nats;
    };
    const ssl: Running = await startService(
      {
        name: "ssl",
        migrations: new URL("./none", import.meta.url),
        cast: (made) => {
          app = made;
          return { jobs: [peek] };
        },
      },
      { ...environment, CHOM_CREDENTIALS_URL: address },
    );
    onTestFinished(async () => {
      release();
      await ssl.stop();
    });
    const input = { serverId, overlapMs: 0n, reason: "" };
    await app?.dispatch({ tenant: "tenant-1", actor: "t", job: peek, jobId: "peek-1", input });
    await expect.poll(() => seen, { timeout: 30_000 }).toHaveLength(3);
    expect([seen[0], seen[2]]).toEqual(["root", "signer-refused"]);

    const claim = { tenant: "tenant-1", jobId: "peek-1", fence: seen[1] ?? "", serverId };
    const signer = (cert: string, key: string) =>
      connectRpc(SignerServiceService, {
        address,
        tls: { ...tls(), cert: readFileSync(cert), key: readFileSync(key) },
      }).calls;
    const asSsl = signer(
      environment["CHOM_TLS_CERT_FILE"] ?? "",
      environment["CHOM_TLS_KEY_FILE"] ?? "",
    );
    expect((await asSsl.openSession(claim)).user).toBe("chom");
    const refused = { code: "signer-refused", kind: "security" };
    await expect(asSsl.sign({ ...claim, data: Buffer.from("a contract") })).rejects.toMatchObject(
      refused,
    );
    for (const forged of [
      { jobId: "peek-2" },
      { tenant: "tenant-2" },
      { fence: "1.1" },
      { serverId: other.serverId },
      { tenant: "*" },
    ]) {
      await expect(asSsl.openSession({ ...claim, ...forged })).rejects.toMatchObject(refused);
    }
    const backup = await ground.environment("backup");
    const asBackup = signer(backup["CHOM_TLS_CERT_FILE"] ?? "", backup["CHOM_TLS_KEY_FILE"] ?? "");
    await expect(asBackup.openSession(claim)).rejects.toMatchObject(refused);
    const token = new Secret(await ground.issue("tenant-1"));
    const asPerson = connectRpc(SignerServiceService, { address, tls: tls(), token: () => token });
    await expect(asPerson.calls.openSession(claim)).rejects.toMatchObject({ kind: "security" });

    // A worker of another family that asks for what it has no jobs for, again and again.
    const codes: string[] = [];
    for (let at = 0; at < 80; at += 1) {
      const forged = {
        ...claim,
        jobId: `peek-${at}`,
        serverId: at % 2 ? serverId : other.serverId,
      };
      const opened = asBackup.openSession(forged);
      codes.push(
        await opened.then(
          () => "let in",
          (error: Failure) => error.code,
        ),
      );
    }
    expect(codes.slice(0, 50)).toEqual(Array.from({ length: 50 }, () => "signer-refused"));
    expect(codes.at(-1)).toBe("too-many-requests");
    expect((await asSsl.openSession(claim)).user).toBe("chom");
    const denied = async () => (await signerDenials(nats())).map(({ service }) => service);
    await expect.poll(denied, { timeout: 10_000 }).toContain("backup");
    release();
    await expect
      .poll(
        () =>
          asSsl.openSession(claim).then(
            () => "",
            (error: Failure) => error.code,
          ),
        { timeout: 10_000 },
      )
      .toBe("signer-refused");
  }, 60_000);

  test("a rotation without overlap ends with the old key retired, through journal, event and reactor", async () => {
    const before = (await get())?.keys[0];
    const request = { requestId: "rotate-1", serverId, overlapSeconds: -1n, reason: "drill" };
    await expect(others.rotateKey(request)).rejects.toMatchObject({ kind: "not-found" });
    await calls.rotateKey(request);
    await expect
      .poll(async () => (await get())?.keys.map(({ status }) => status), {
        timeout: 60_000,
        interval: 250,
      })
      .toEqual([KeyStatus.RETIRED, KeyStatus.CURRENT]);
    const after = await get();
    expect(after?.keys[0]?.fingerprint).toBe(before?.fingerprint);
    expect(after?.rotatedAt).toBeInstanceOf(Date);
    const lines = (await vps.exec(["cat", "/home/chom/.ssh/authorized_keys"])).stdout;
    expect(lines).toContain(after?.keys[1]?.keyId);
    expect(lines).not.toContain(before?.keyId);
    // The same request again is the same job.
    await calls.rotateKey(request);
    expect((await get())?.keys).toHaveLength(2);
  }, 90_000);
});
