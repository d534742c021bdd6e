import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  CredentialsServiceService,
  type InstallKeyRequest,
  type RegisterServerRequest,
} from "@chom/proto/chom/credentials/v1/credentials";
import { permissions } from "@chom/proto/permissions";
import { parseTokenKeys } from "@chom/shared/rpc/authenticate";
import { type RpcServer, startRpcServer } from "@chom/shared/rpc/server";
import { unary } from "@chom/shared/rpc/unary";
import { type Running, startService } from "@chom/shared/service/start";
import { createLogger } from "@chom/shared/telemetry/logger";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
const schedulerMain = fileURLToPath(
  new URL("../../../services/scheduler/src/main.ts", import.meta.url),
);
let ground: Ground;
let toy: Running;
let credentials: RpcServer;
let scheduler: ReturnType<typeof start>;
let context: string;
const registered: RegisterServerRequest[] = [];
const installed: InstallKeyRequest[] = [];

function start(file: string, args: readonly string[], env: Record<string, string>, input = "") {
  const child = spawn(process.execPath, [file, ...args], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  child.stdin.end(input);
  const written = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (written.out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written.err += text));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, written, ended };
}

/** One `chom` to its end. */
async function chom(
  args: readonly string[],
  over: { input?: string; env?: Record<string, string> } = {},
) {
  const run = start(main, args, { CHOM_CONTEXT_FILE: context, ...over.env }, over.input);
  const code = await run.ended;
  const { out, err } = run.written;
  return { code, out, err, json: () => JSON.parse(out), error: () => JSON.parse(err).error };
}

/** A credentials service that only remembers what it was asked. */
async function startCredentials(): Promise<RpcServer> {
  const unused = unary(async () => Promise.reject(new Error("not called")));
  const environment = await ground.environment("credentials");
  const file = (name: string) => readFileSync(environment[name] ?? "");
  return startRpcServer({
    listen: "127.0.0.1:0",
    tls: {
      ca: file("CHOM_TLS_CA_FILE"),
      cert: file("CHOM_TLS_CERT_FILE"),
      key: file("CHOM_TLS_KEY_FILE"),
    },
    tokenKeys: parseTokenKeys(String(file("CHOM_TOKEN_KEYS_FILE"))),
    permissions,
    reflection: false,
    logger: createLogger({ service: "fake", level: "silent" }),
    services: [
      {
        definition: CredentialsServiceService,
        implementation: {
          registerServer: unary(async (request: RegisterServerRequest) => {
            registered.push(request);
            return { serverId: "server-1", authorizedKey: "ssh-ed25519 AAAA chom", position: 1n };
          }),
          installKey: unary(async (request: InstallKeyRequest) => {
            installed.push(request);
            return { position: 2n };
          }),
          getServer: unused,
          listServers: unused,
          rotateKey: unused,
        },
      },
    ],
  });
}

beforeAll(async () => {
  ground = await startGround();
  const nowhere = new URL("./no-migrations", import.meta.url);
  toy = await startService(toyFamily(nowhere), await ground.environment("ssl"));
  credentials = await startCredentials();
  const environment = await ground.environment("scheduler");
  scheduler = start(schedulerMain, [], { ...environment, CHOM_LOG_LEVEL: "info" });
  const address = () => /"address":"([^"]+)"[^\n]*"msg":"serving"/.exec(scheduler.written.out)?.[1];
  await vi.waitUntil(address, { timeout: 30_000, interval: 100 });
  const tokenFile = join(ground.folder, "token");
  writeFileSync(tokenFile, await ground.issue("acme"), { mode: 0o600 });
  context = join(ground.folder, "context.json");
  const urls = {
    ...{ ssl: toy.address, scheduler: address(), credentials: credentials.address },
    // Nobody listens there.
    backup: "127.0.0.1:1",
  };
  writeFileSync(context, JSON.stringify({ urls, caFile: ground.caFile, tokenFile }));
});
afterAll(async () => {
  scheduler?.child.kill("SIGTERM");
  await scheduler?.ended;
  await credentials?.close(1_000);
  await toy?.stop();
  await ground?.stop();
});

const issue = (id: string, text: string, ...more: string[]) =>
  chom(["cert", "issue", "site-1", "--request-id", id, "--reason", text, ...more]);

test("a job is started, waited for and shown as one JSON document", async () => {
  const { code, json, err } = await issue("job-1", "hello", "--wait", "--json");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(json()).toMatchObject({ jobId: "job-1", job: { state: "JOB_STATE_COMPLETED" } });
});

test("waiting without a terminal tells the steps as lines on stderr", async () => {
  const { code, err, out } = await issue("job-2", "hello", "--wait");
  expect(code).toBe(0);
  expect(err).toMatch(/queued note\.take\n[\s\S]*count \(\d+ ms\)\n[\s\S]*completed\n/);
  expect(out).toBe("job  job-2\n");
});

test("a failed job exits with 6", async () => {
  const { code, json } = await issue("job-3", "fail", "--wait", "--json");
  expect(code).toBe(6);
  expect(json().job.failure).toMatchObject({ code: "unsupported-type" });
  expect((await chom(["job", "watch", "job-3", "--json"])).code).toBe(6);
});

test("jobs are listed, filtered, shown, watched and cancelled", async () => {
  expect((await issue("job-4", "wait", "--no-wait", "--json")).json()).toMatchObject({
    jobId: "job-4",
  });
  const running = async () =>
    (await chom(["job", "list", "--json", "--state", "running", "--family", "ssl"])).json();
  await expect.poll(running, { timeout: 30_000 }).toMatchObject([{ jobId: "job-4" }]);
  expect((await chom(["job", "show", "job-4"])).out).toMatch(/^state +running$/m);
  const cancelled = await chom(["job", "cancel", "job-4", "--reason", "enough", "--json"]);
  expect(cancelled.code).toBe(0);
  const watched = await chom(["job", "watch", "job-4", "--json"]);
  const types = watched.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).type as string);
  expect([types[0], types.at(-1)]).toEqual(["JobQueued", "JobCancelled"]);
  const again = await chom(["job", "cancel", "job-4", "--json"]);
  expect({ code: again.code, error: again.error() }).toMatchObject({
    code: 4,
    error: { code: "job-ended", remedy: "see how it ended with: chom job show <id>" },
  });
});

test("events are told as lines of JSON, and end when asked to", async () => {
  await issue("job-5", "event", "--wait");
  const tail = ["events", "tail", "--no-follow", "--json", "--type", "Noted"];
  const { code, out } = await chom(tail);
  expect(code).toBe(0);
  const events = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(events.at(-1)).toMatchObject({ tenant: "acme", subject: "certificate/site-1" });
});

test("following ends well with an interrupt", async () => {
  const run = start(main, ["events", "tail"], { CHOM_CONTEXT_FILE: context });
  await expect.poll(() => run.written.out, { timeout: 30_000 }).toContain("Noted");
  run.child.kill("SIGINT");
  expect(await run.ended).toBe(0);
});

test("failures have their exit code, and are JSON on stderr with --json", async () => {
  const missing = await chom(["job", "show", "job-nowhere", "--json"]);
  expect({ code: missing.code, out: missing.out }).toEqual({ code: 3, out: "" });
  expect(missing.error()).toMatchObject({ code: "job-not-found", kind: "not-found" });
  const refused = await chom(["job", "list", "--limit", "0", "--family", "No Such", "--json"]);
  expect({ code: refused.code, field: refused.error().violations[0].field }).toEqual({
    code: 2,
    field: "family",
  });
  const away = await chom(["backup", "show", "b", "--json"]);
  expect({ code: away.code, error: away.error().code }).toEqual({
    code: 5,
    error: "service-unavailable",
  });
  const usage = await chom(["job", "show", "--json"]);
  expect({ code: usage.code, error: usage.error().code }).toEqual({ code: 2, error: "usage" });
  const kind = await chom(["backup", "create", "s", "--kind", "everything"]);
  expect({ code: kind.code, err: kind.err }).toMatchObject({
    code: 2,
    err: expect.stringContaining("must be one of full, files, database"),
  });
});

test("a token without the permission is denied, and the remedy is told", async () => {
  const tokenFile = join(ground.folder, "poor");
  writeFileSync(tokenFile, await ground.issue("acme", { permissions: ["job.read"] }), {
    mode: 0o600,
  });
  const poor = join(ground.folder, "poor.json");
  writeFileSync(poor, JSON.stringify({ ...JSON.parse(readFileSync(context, "utf8")), tokenFile }));
  const { code, err } = await chom(["job", "cancel", "job-1", "--context", poor]);
  expect(code).toBe(4);
  expect(err).toContain("needs the permission job.cancel (not-permitted)");
  expect(err).toContain("remedy: ask for a token");
});

test("a one-time password comes from stdin or a file, and is shown nowhere", async () => {
  const password = "correct horse battery";
  const add = ["server", "add", "--name", "web-1", "--address", "203.0.113.5"];
  const keys = join(ground.folder, "host.keys");
  writeFileSync(keys, "# 203.0.113.5:22 SSH-2.0\n203.0.113.5 ssh-ed25519 AAAAHOST\n");
  const added = await chom([...add, "--host-keys-file", keys, "--password-file", "-", "--json"], {
    input: `${password}\n`,
  });
  expect(added.code).toBe(0);
  expect(added.json()).toMatchObject({
    serverId: "server-1",
    authorizedKey: "ssh-ed25519 AAAA chom",
  });
  expect(registered.at(-1)).toMatchObject({
    name: "web-1",
    port: 22,
    hostKeys: ["ssh-ed25519 AAAAHOST"],
  });
  expect(installed.at(-1)).toMatchObject({ serverId: "server-1", oneTimePassword: password });
  expect(added.out + added.err).not.toContain(password);
  const onArgv = await chom([...add, "--password", password]);
  expect(onArgv.code).toBe(2);
  const asked = await chom(["server", "install", "server-1", "--ask-password"]);
  expect(asked).toMatchObject({ code: 1, err: expect.stringContaining("no-terminal") });
});

test("the topology is planned, applied and checked", async () => {
  const empty = await startGround({ empty: true });
  try {
    const broker = [
      "--nats-url",
      empty.nats.url,
      "--seed-file",
      empty.seedFiles.topology,
      "--json",
    ];
    expect((await chom(["topology", "check", ...broker])).code).toBe(1);
    const planned = (await chom(["topology", "plan", ...broker])).json();
    expect(planned).toContainEqual(expect.objectContaining({ what: "stream EVENTS" }));
    const applied = await chom(["topology", "apply", ...broker]);
    expect(applied.json()).toContainEqual({ what: "stream EVENTS", did: "created" });
    const checked = await chom(["topology", "check", ...broker]);
    expect({ code: checked.code, left: checked.json() }).toEqual({ code: 0, left: [] });
  } finally {
    await empty.stop();
  }
});

test("help teaches with examples on every level", async () => {
  for (const args of [[], ["backup"], ["backup", "create"], ["topology", "apply"]]) {
    const { code, out } = await chom([...args, "--help"]);
    expect({ args, code }).toEqual({ args, code: 0 });
    if (args.length !== 1) expect(out).toMatch(/Examples:|A first tour:/);
  }
});
