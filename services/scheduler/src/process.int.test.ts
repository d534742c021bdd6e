import { spawn } from "node:child_process";
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { afterAll, beforeAll, expect, test } from "vitest";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
let ground: Ground;
let environment: Record<string, string>;
beforeAll(async () => {
  ground = await startGround();
  environment = { ...(await ground.environment("scheduler")), CHOM_LOG_LEVEL: "info" };
});
afterAll(() => ground?.stop());

/** The service as a process; ended at the latest after 30 s. */
function run(over: Record<string, string | undefined> = {}) {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], ...environment, ...over },
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  let written = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (written += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written += text));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, log: () => written, ended };
}

test("it says when it serves, and ends with 0 when asked to", async () => {
  const { child, log, ended } = run();
  await expect.poll(log, { timeout: 30_000 }).toContain('"msg":"serving"');
  expect(log()).toMatch(/"address":"127\.0\.0\.1:\d+"/);
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
  expect(log()).toContain('"msg":"stopped"');
});

test("the log of the settings holds no secret", async () => {
  const { child, log, ended } = run();
  await expect.poll(log, { timeout: 30_000 }).toContain('"msg":"serving"');
  child.kill("SIGINT");
  expect(await ended).toBe(0);
  expect(log()).toContain('"postgresUrl":"[secret]"');
  expect(log()).not.toMatch(/postgres:\/\/|PRIVATE KEY|\bSU[A-Z2-7]{56}/);
});

test("two replicas that start together both serve", async () => {
  const both = [run(), run()];
  for (const { log } of both) {
    await expect.poll(log, { timeout: 30_000 }).toContain('"msg":"serving"');
  }
  for (const { child } of both) child.kill("SIGTERM");
  expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0]);
});

test("all bad settings are named at once, and nothing is started", async () => {
  const { log, ended } = run({
    CHOM_LISTEN: "nowhere",
    CHOM_DRAIN: "forever",
    CHOM_POSTGRES_URL_FILE: "/nonexistent",
    CHOM_ROOT_KEY_FILE: undefined,
    CHOM_TYPO: "1",
  });
  expect(await ended).toBe(1);
  for (const name of ["LISTEN", "DRAIN", "POSTGRES_URL_FILE", "ROOT_KEY_FILE", "TYPO"]) {
    expect(log()).toContain(`CHOM_${name} `);
  }
});

test("case 42: unsafe keys and development keys in production are refused with the setting's name", async () => {
  const exposed = join(ground.folder, "exposed.key");
  copyFileSync(environment["CHOM_ROOT_KEY_FILE"] ?? "", exposed);
  chmodSync(exposed, 0o644);
  const weak = join(ground.folder, "weak.key");
  writeFileSync(weak, `k1 ${Buffer.alloc(32).toString("base64")}\n`, { mode: 0o600 });
  const cases = [
    [{ CHOM_ROOT_KEY_FILE: exposed }, /CHOM_ROOT_KEY_FILE: .*chmod 600/],
    [{ CHOM_ROOT_KEY_FILE: weak }, /CHOM_ROOT_KEY_FILE: .*not random/],
    [
      { CHOM_ENVIRONMENT: "production" },
      /CHOM_ROOT_KEY_FILE holds a development key/,
      /CHOM_NATS_URL must begin with tls/,
      // Who serves must not be able to become the owner of its tables.
      /CHOM_POSTGRES_OWNER_URL_FILE is for `main.ts migrate`/,
    ],
    [{ CHOM_TLS_KEY_FILE: undefined }, /CHOM_TLS_KEY_FILE belong together/],
  ] as const;
  for (const [over, ...reasons] of cases) {
    const { log, ended } = run(over);
    expect(await ended).toBe(1);
    for (const reason of reasons) expect(log()).toMatch(reason);
  }
});

test("a broker without the topology is refused with the remedy", async () => {
  const empty = await startGround({ empty: true });
  try {
    const { log, ended } = run(await empty.environment("scheduler"));
    expect(await ended).toBe(1);
    expect(log()).toContain("chom topology apply");
  } finally {
    await empty.stop();
  }
});

test("without its broker it does not start", async () => {
  const { log, ended } = run({ CHOM_NATS_URL: "nats://127.0.0.1:1" });
  expect(await ended).toBe(1);
  expect(log()).toContain("log-unavailable");
});
