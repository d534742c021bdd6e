import { networksOf } from "@chom/shared/input/networks";
import { randomBytes } from "node:crypto";
import { RotateKeyInput } from "@chom/proto/chom/credentials/v1/events";
import { hashId } from "@chom/shared/aggregate/id";
import { handleCommand, loadAggregate } from "@chom/shared/event-log/aggregates";
import { memoryLog } from "@chom/shared/event-log/memory-log";
import type { Failure } from "@chom/shared/failure/failure";
import type { Job } from "@chom/shared/job/job";
import { isOutcome } from "@chom/shared/job/outcome";
import { type FinishedStep, startRun, undoingOf } from "@chom/shared/job/run-steps";
import { decodeResult } from "@chom/shared/job/step-result";
import { sshServers } from "@chom/shared/script/ssh-servers";
import { keyring } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { migrateService } from "@chom/shared/service/migrate";
import { openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { createLogger } from "@chom/shared/telemetry/logger";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installKey } from "./install-key.ts";
import { plainLines } from "./key-lines.ts";
import { type KeyStore, keyStore } from "./key-store.ts";
import { localSigner } from "./login.ts";
import { retireKey } from "./retire-key.ts";
import { rotateKey } from "./rotate-key.ts";
import { addKey, findKeyUse, proveLogin, removeKey } from "./scripts.ts";
import { currentKey, keyOf, server } from "./server.ts";
import { blobOf } from "./ssh-key.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const tenant = "tenant-1";
const sealer = keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes);
const logger = createLogger({ service: "test", level: "silent" });
const authorized = "/home/chom/.ssh/authorized_keys";

// biome-ignore lint/suspicious/noExplicitAny: any job of this family.
type KeyJob = Job<typeof server, any, any>;

describe.skipIf(!support.ok)("keys of a real server", () => {
  let postgres: Postgres;
  let pool: Pool;
  let vps: Vps;
  let store: KeyStore;
  const log = memoryLog();
  const histories = { log, sealer, source: "credentials", now: () => new Date() };
  const app = {
    load: (of, forTenant, id) => loadAggregate(histories, of, forTenant, id),
    handle: (...[of, id, command, input, cause]) =>
      handleCommand(histories, { of, id, command, input, cause }),
  } as Pick<App, "load" | "handle">;
  const ports = () =>
    localSigner({ app, store, networks: networksOf(["10.0.0.0/8", "127.0.0.0/8"]) });

  let servers: ReturnType<typeof sshServers>;
  let fence = 10;
  let count = 0;

  const stateOf = async (serverId: string) => (await app.load(server, tenant, serverId)).state;
  const inside = async (text: string, input = "") =>
    (await vps.exec(["sh", "-c", text], { input })).stdout;
  const decide = (serverId: string, command: string, input: unknown, seed: string) =>
    app.handle(server, serverId, command as "promote", input as never, {
      tenant,
      actor: "tester",
      eventSeed: seed,
    });

  /** Registers the machine under a new id, with whatever authorized_keys it has, and lets the first key in. */
  async function newServer(): Promise<string> {
    count += 1;
    const serverId = `server-${count}`;
    const key = await store.create({ tenant, serverId, keyId: hashId("key", serverId, "first") });
    const { address, sshPort: port, user, hostKeys } = vps;
    const facts = { serverId, name: "web", address, port, user, hostKeys };
    await decide(serverId, "register", { server: facts, key, at: new Date() }, serverId);
    await vps.authorizeKey(key.publicKey);
    await decide(serverId, "activate", { serverId, keyId: key.keyId }, `${serverId}-activate`);
    return serverId;
  }

  /** A login with one key only; the code of its failure, or "". */
  async function login(serverId: string, keyId?: string): Promise<string> {
    fence += 1;
    const context = {
      tenant,
      serverId,
      jobId: `look-${fence}`,
      fence: `1.${fence}`,
      leaseKeys: [`look.${fence}`],
      step: "look",
      signal: AbortSignal.timeout(20_000),
      ...(keyId === undefined ? {} : { keyId }),
    };
    return servers.run(context, proveLogin, { user: "chom" }).then(
      ({ output }) => (output.proof === "none" ? "no-proof" : ""),
      (error: Failure) => error.code,
    );
  }

  type Attempt = {
    readonly jobId: string;
    readonly memory: Map<string, FinishedStep>;
    /** Dies at the end of this step of the attempt, before or after it is written down. */
    readonly dieAt?: { readonly step: number; readonly when: "before" | "after" };
    readonly now?: Date;
  };

  /** One attempt of a job by the engine's own step logic; answers undefined when it died. Undoes on failure. */
  async function attempt(job: KeyJob, input: unknown, { jobId, memory, dieAt, now }: Attempt) {
    fence += 1;
    const { promise: death, resolve: die } = Promise.withResolvers<undefined>();
    let steps = 0;
    const settings = {
      id: jobId,
      tenant,
      actor: "tester",
      attempt: 1,
      generation: 1,
      fence: `1.${fence}`,
      leaseKeys: job.exclusive?.(input) ?? [],
      signal: AbortSignal.timeout(60_000),
      mode: "work" as const,
      now: () => now ?? new Date(),
      store: {
        remembered: (step: string) => {
          const found = memory.get(step);
          return found && { result: decodeResult(found.result), undoable: found.undoable };
        },
        finishedBefore: (step: string) => (memory.has(step) ? 1 : 0),
        async finish(step: FinishedStep) {
          steps += 1;
          const dies = dieAt?.step === steps;
          if (!dies || dieAt.when === "after") memory.set(step.step, step);
          if (!dies) return;
          die(undefined);
          await new Promise(() => {});
        },
      },
      servers,
      record: async (name: string, command: string, value: unknown) =>
        void (await decide(job.of(input), command, value, hashId(jobId, name))),
      progress: () => {},
    };
    const started = startRun<typeof server>(settings);
    const worked = (async () => {
      try {
        return await job.work(input, started.run);
      } catch (error) {
        const undoing = undoingOf(settings, AbortSignal.timeout(60_000));
        for (const { undo } of started.undos.toReversed()) await undo(undoing);
        throw error;
      }
    })();
    worked.catch(() => {});
    return Promise.race([worked, death]);
  }

  const done = (job: KeyJob, jobId: string, input: unknown, result: unknown) =>
    decide(
      job.of(input),
      job.done,
      { jobId, input, result, at: new Date(), tenant, actor: "tester", durationMs: 1 },
      hashId(jobId, "done"),
    );

  const onKeys = async <Input, Output>(
    of: Parameters<typeof servers.run<Input, Output>>[1],
    input: Input,
  ) => {
    fence += 1;
    const serverId = "server-1";
    const context = {
      ...{ tenant, serverId, jobId: `keys-${fence}`, fence: `1.${fence}`, step: "s" },
      leaseKeys: [`keys.${fence}`],
      signal: AbortSignal.timeout(20_000),
    };
    return (await servers.run(context, of, input)).output;
  };

  const inputOf = (serverId: string, overlapMs = 0n) =>
    RotateKeyInput.fromPartial({ serverId, overlapMs, reason: "" });

  /** Rotates once without disturbance; answers the ids of both keys. */
  async function rotated(serverId: string, overlapMs = 0n, lines = plainLines) {
    const rotate = rotateKey({ app, store, lines });
    const input = inputOf(serverId, overlapMs);
    count += 1;
    const jobId = `rotate-${count}-${serverId}`;
    const old = currentKey(await stateOf(serverId))?.keyId ?? "";
    const result = await attempt(rotate, input, { jobId, memory: new Map() });
    await done(rotate, jobId, input, result);
    return {
      old,
      current: currentKey(await stateOf(serverId))?.keyId ?? "",
      promotedAt: new Date(),
    };
  }

  beforeAll(async () => {
    [postgres, vps] = await Promise.all([startPostgres(), startVps()]);
    const urls = await postgres.createServiceRoles("credentials", "test-password");
    pool = openPostgres(new Secret(urls.url), "credentials");
    const folder = new URL("../migrations", import.meta.url);
    const url = new Secret(urls.ownerUrl);
    await migrateService({ url, service: "credentials", shared: [], folder });
    store = keyStore({ db: pool.db, sealer, now: () => new Date() });
    servers = sshServers({ ...ports(), logger, idleMs: 1 });
    await inside(`mkdir -p /home/chom/.ssh; touch ${authorized}; chown -R chom: /home/chom/.ssh`);
  }, 900_000);
  afterAll(async () => {
    await servers?.close();
    await pool?.close();
    await Promise.all([postgres?.stop(), vps?.stop()]);
  });

  test("case 69: a rotation ends with the new key in use, the old one refused, and its private half gone", async () => {
    const serverId = await newServer();
    const { old, current, promotedAt } = await rotated(serverId);
    expect(current).not.toBe(old);
    expect([await login(serverId), await login(serverId, old)]).toEqual(["", ""]);
    expect(await inside(`cat ${authorized}`)).toContain(`chom:${serverId}:${current}`);

    const retire = retireKey({ app, store });
    const input = { serverId, keyId: old, promotedAt };
    const result = await attempt(retire, input, { jobId: "retire-1", memory: new Map() });
    await done(retire, "retire-1", input, result);
    expect(keyOf(await stateOf(serverId), old)?.status).toBe("retired");
    expect(await login(serverId)).toBe("");
    await expect(
      store.sign({ tenant, serverId, keyId: old }, Buffer.alloc(1)),
    ).rejects.toMatchObject({ code: "key-missing" });
    // Again, as after a lost answer: there is nothing left to do.
    const again = await attempt(retire, input, { jobId: "retire-1", memory: new Map() });
    expect(isOutcome(again) && again.outcome).toBe("skipped");
  }, 60_000);

  test.each(["before", "after"] as const)(
    "a rotation that dies %s any of its steps is written down always leaves a working key, and ends the same",
    async (when) => {
      const [rotate, retire] = [rotateKey({ app, store }), retireKey({ app, store })];
      for (const step of [1, 2, 3, 4]) {
        const serverId = await newServer();
        const input = inputOf(serverId);
        const old = currentKey(await stateOf(serverId))?.keyId ?? "";
        const jobId = `dying-${when}-${step}`;
        const memory = new Map<string, FinishedStep>();
        const died = await attempt(rotate, input, { jobId, memory, dieAt: { step, when } });
        // It has no fourth step: then this one went through.
        expect(died === undefined).toBe(step < 4);
        expect(await login(serverId)).toBe("");
        // Twice in a row, then to the end.
        await attempt(rotate, input, { jobId, memory, dieAt: { step: 1, when } });
        expect(await login(serverId)).toBe("");
        const result = await attempt(rotate, input, { jobId, memory });
        await done(rotate, jobId, input, result);
        const state = await stateOf(serverId);
        expect(state.keys.map(({ status }) => status)).toEqual(["overlap", "current"]);
        const lines = (await inside(`grep -c chom:${serverId}: ${authorized}`)).trim();
        expect(lines).toBe("2");

        const ending = { serverId, keyId: old, promotedAt: new Date() };
        const retirement = { jobId: `${jobId}-retire`, memory: new Map<string, FinishedStep>() };
        for (const dies of [1, 2]) {
          const dieAt = { step: dies, when };
          await attempt(retire, ending, { ...retirement, dieAt });
          expect(await login(serverId)).toBe("");
        }
        const last = await attempt(retire, ending, retirement);
        await done(retire, retirement.jobId, ending, last);
        expect(await login(serverId)).toBe("");
        expect((await stateOf(serverId)).keys.map(({ status }) => status)).toEqual([
          "retired",
          "current",
        ]);
        expect((await inside(`grep -c chom:${serverId}: ${authorized}`)).trim()).toBe("1");
      }
    },
    240_000,
  );

  test("case 68: a new key that does not open the server is taken back, and the old one stays", async () => {
    const serverId = await newServer();
    const before = await inside(`cat ${authorized}`);
    const old = currentKey(await stateOf(serverId))?.keyId;
    // Whoever holds the server blocks every key but the old one.
    const allowed = "grep -F";
    await inside(
      `printf '#!/bin/sh\\n${allowed} chom:${serverId}:${old} ${authorized}\\n' >/usr/local/bin/only-old; chmod 755 /usr/local/bin/only-old
       printf 'AuthorizedKeysFile none\\nAuthorizedKeysCommand /usr/local/bin/only-old\\nAuthorizedKeysCommandUser root\\n' >/etc/ssh/sshd_config.d/0-only-old.conf
       service ssh restart`,
    );
    try {
      const failure = await attempt(rotateKey({ app, store }), inputOf(serverId), {
        jobId: "blocked",
        memory: new Map(),
      }).catch((error: Failure) => error);
      expect(failure).toMatchObject({ code: "ssh-auth-failed" });
    } finally {
      await inside("rm /etc/ssh/sshd_config.d/0-only-old.conf; service ssh restart");
    }
    expect(await login(serverId)).toBe("");
    const keyLines = (text: string) => text.split("\n").filter((line) => !line.startsWith("#"));
    expect(keyLines(await inside(`cat ${authorized}`))).toEqual(keyLines(before));
  }, 60_000);

  test("an old key in use is not retired yet, unless it was exposed", async () => {
    const serverId = await newServer();
    const { old } = await rotated(serverId, 3_600_000n);
    const promotedAt = new Date(Date.now() - 60_000);
    const { fingerprint = "" } = keyOf(await stateOf(serverId), old) ?? {};
    // As syslog writes it, new and old form, before and after the promotion; the test server's own log has no times.
    const used = `sshd[1]: Accepted publickey for chom from 198.51.100.9 port 1 ssh2: ED25519 ${fingerprint}`;
    const logged = (iso: string) => inside(`cat >>/var/log/auth.log`, `${iso} vps ${used}\n`);
    await logged(new Date(promotedAt.getTime() - 60_000).toISOString());
    const retire = retireKey({ app, store });
    const input = { serverId, keyId: old, promotedAt };
    for (const line of [
      new Date().toISOString(),
      (await inside("date '+%b %e %H:%M:%S'")).trimEnd(),
    ]) {
      const kept = await inside("wc -c </var/log/auth.log");
      expect((await onKeys(findKeyUse, { fingerprint, since: promotedAt })).uses).toBe(0);
      await logged(line);
      const found = await onKeys(findKeyUse, { fingerprint, since: promotedAt });
      expect(found).toMatchObject({ uses: 1, source: "198.51.100.9" });
      const outcome = await attempt(retire, input, { jobId: "in-use", memory: new Map() });
      expect(outcome).toMatchObject({ outcome: "deferred", code: "old-key-in-use" });
      await inside(`truncate -s ${kept.trim()} /var/log/auth.log`);
    }
    expect(await login(serverId, old)).toBe("");
    // Exposed: its overlap was none, and whoever uses it must be locked out.
    await logged(new Date().toISOString());
    const { retireAt } = keyOf(await stateOf(serverId), old) ?? {};
    const exposed = { ...input, promotedAt: retireAt };
    const result = await attempt(retire, exposed, { jobId: "exposed", memory: new Map() });
    expect(result).toEqual({ fingerprint });
    expect(await login(serverId, old)).toBe("ssh-auth-failed");
  }, 60_000);

  test("case 68: the key that would be the last one is never removed", async () => {
    const serverId = await newServer();
    const { old, current, promotedAt } = await rotated(serverId);
    const state = await stateOf(serverId);
    const blob = blobOf(keyOf(state, current)?.publicKey ?? "");
    await inside(
      `grep -vF '${blob}' ${authorized} >/root/without; cp ${authorized} /root/with; cat /root/without >${authorized}`,
    );
    const input = { serverId, keyId: old, promotedAt };
    const failure = await attempt(retireKey({ app, store }), input, {
      jobId: "last",
      memory: new Map(),
    }).catch((error: Failure) => error);
    expect(failure).toMatchObject({ code: "ssh-auth-failed" });
    expect(await login(serverId, old)).toBe("");
    await inside(`cat /root/with >${authorized}`);
  }, 60_000);

  test("the first key is let in with a password that works once, or proven when it is there already", async () => {
    const serverId = await newServer();
    const state = await stateOf(serverId);
    const key = currentKey(state);
    if (!key) throw new Error("no key");
    const signal = AbortSignal.timeout(30_000);
    const request = { tenant, serverId, state, key, lines: plainLines, signal };
    await inside(`cp ${authorized} /root/kept; : >${authorized}`);
    await expect(installKey(ports(), logger, { ...request, oneTime: {} })).rejects.toMatchObject({
      code: "ssh-auth-failed",
    });
    const password = new Secret("once-only-4711");
    await vps.setPassword(password.reveal());
    await installKey(ports(), logger, { ...request, oneTime: { password } });
    await vps.lockPassword();
    await installKey(ports(), logger, { ...request, oneTime: {} });
    expect(await inside(`cat ${authorized}`)).toContain("restrict ssh-ed25519");
    expect(
      await inside("cat /var/lib/chom/runs/*/*/* 2>/dev/null; cat /var/log/auth.log"),
    ).not.toContain(password.reveal());
    await inside(`cat /root/kept >${authorized}`);
  }, 60_000);

  const blobs = ["AAAAC3NzaC1lZDI1NTE5AAAAIA", "AAAAC3NzaC1lZDI1NTE5AAAAIB"] as const;
  test("case 70, 71: foreign lines stay byte for byte, whatever the file looks like", async () => {
    await inside("useradd -m lines");
    const file = "/home/lines/.ssh/authorized_keys";
    const user = "lines";
    const [mine, keep] = blobs;
    const add = (blob: string) =>
      onKeys(addKey, { user, blob, comment: "chom:s:k", lines: plainLines });
    for (const foreign of [
      "",
      "ssh-rsa AAAA foreign",
      "ssh-rsa AAAA foreign\n",
      'from="10.0.0.1",command="echo \\"hi\\"" ssh-rsa AAAA x\r\n# a comment\r\n',
      `# ${mine} in a comment\n\n\nssh-rsa AAAA y`,
      "# BEGIN chom managed keys\nssh-rsa AAAA cut block\n",
      `${"ssh-rsa BBBB z\n".repeat(20_000)}`,
    ]) {
      await inside(
        `mkdir -p /home/lines/.ssh; cat >${file}; chown -R lines: /home/lines/.ssh`,
        foreign,
      );
      expect((await add(keep)).changed).toBe(true);
      expect((await add(mine)).changed).toBe(true);
      expect((await add(mine)).changed).toBe(false);
      const now = await inside(`cat ${file}`);
      const whole = foreign === "" || foreign.endsWith("\n") ? foreign : `${foreign}\n`;
      expect(now.startsWith(whole)).toBe(true);
      expect(await inside(`stat -c '%a %U' ${file} /home/lines/.ssh`)).toBe(
        "600 lines\n700 lines\n",
      );
      const removed = await onKeys(removeKey, { user, blob: mine, keepBlob: keep });
      expect(removed.changed).toBe(true);
      const after = await inside(`cat ${file}`);
      expect(after.startsWith(whole)).toBe(true);
      expect(after).toContain(keep);
      expect(
        after.split("\n").filter((line) => line.includes(mine) && !line.startsWith("#")),
      ).toEqual([]);
      await expect(onKeys(removeKey, { user, blob: keep, keepBlob: mine })).rejects.toMatchObject({
        code: "lockout-risk",
      });
    }
  }, 90_000);

  test("case 70: options that were taken off a line of ours, and lines put beside it, are noticed and left", async () => {
    await inside("useradd -m drift");
    const file = "/home/drift/.ssh/authorized_keys";
    const [first, second] = blobs;
    const add = (blob: string) =>
      onKeys(addKey, { user: "drift", blob, comment: "chom:s:k", lines: plainLines });
    expect((await add(first)).drift).toBe(0);
    await inside(
      `sed -i -e 's/^restrict //' -e '/^# END/i command="id" ssh-ed25519 AAAA chom:s:other' ${file}`,
    );
    const edited = await inside(`cat ${file}`);
    expect(await add(second)).toMatchObject({ changed: true, drift: 2 });
    const now = await inside(`cat ${file}`);
    expect(now.replace(`restrict ssh-ed25519 ${second} chom:s:k\n`, "")).toBe(edited);
  }, 60_000);

  test("case 81: a rotation lets the new key start the runner only, and none through the runner loosens that", async () => {
    const serverId = await newServer();
    const optionsOf = async (keyId: string) =>
      (await inside(`grep ':${keyId}$' ${authorized}`)).replace(/ ssh-ed25519 .*\n/, "");
    const { current, old, promotedAt } = await rotated(serverId, 0n, { from: "", runner: true });
    const runnerOnly = 'restrict,command="exec /usr/local/lib/chom/runner"';
    expect(await optionsOf(current)).toBe(runnerOnly);
    expect(await inside("stat -c '%a %U' /usr/local/lib/chom/*")).toBe(
      "644 root\n755 root\n644 root\n",
    );
    const retire = { serverId, keyId: old, promotedAt };
    const job = retireKey({ app, store });
    const result = await attempt(job, retire, { jobId: "retire-runner", memory: new Map() });
    await done(job, "retire-runner", retire, result);
    expect(await login(serverId, current)).toBe("");
    // Whoever asks for a line without the runner, or with another source, through the runner.
    const next = await rotated(serverId, 0n, { from: "192.0.2.7", runner: false });
    expect(await optionsOf(next.current)).toBe(runnerOnly);
    expect(await login(serverId, next.current)).toBe("");
    await inside("rm -r /usr/local/lib/chom");
  }, 120_000);

  test("case 81: a source that does not fit locks nobody out: the rotation is undone", async () => {
    const serverId = await newServer();
    const before = await inside(`cat ${authorized}`);
    const lines = { from: "192.0.2.0/24", runner: false };
    await expect(rotated(serverId, 0n, lines)).rejects.toMatchObject({ code: "ssh-auth-failed" });
    expect(await inside(`cat ${authorized}`)).toBe(before);
    expect(await login(serverId)).toBe("");
  }, 60_000);

  test("case 71: a link or an unchangeable file is refused and left as it is", async () => {
    await inside(
      "useradd -m linked; mkdir -p /home/linked/.ssh; echo precious >/root/precious; ln -s /root/precious /home/linked/.ssh/authorized_keys",
    );
    const linked = { user: "linked", blob: blobs[0], comment: "chom:s:k", lines: plainLines };
    const add = onKeys(addKey, linked);
    await expect(add).rejects.toMatchObject({ code: "permission-denied" });
    expect(await inside("cat /root/precious")).toBe("precious\n");
    await inside("mkdir /root/away; rm -r /home/linked/.ssh; ln -s /root/away /home/linked/.ssh");
    const again = onKeys(addKey, linked);
    await expect(again).rejects.toMatchObject({ code: "permission-denied" });
    expect(await inside("ls -A /root/away")).toBe("");
  }, 30_000);

  test("case 29: a server that shows another host key is stopped for all", async () => {
    const serverId = await newServer();
    await inside(
      "cp /etc/ssh/ssh_host_ed25519_key /root/host; cp /etc/ssh/ssh_host_ed25519_key.pub /root/host.pub; rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; service ssh restart",
    );
    expect(await login(serverId)).toBe("ssh-host-key-mismatch");
    expect((await stateOf(serverId)).status).toBe("quarantined");
    await inside(
      "cp /root/host /etc/ssh/ssh_host_ed25519_key; cp /root/host.pub /etc/ssh/ssh_host_ed25519_key.pub; service ssh restart",
    );
    expect(await login(serverId)).toBe("ssh-host-key-mismatch");
  }, 30_000);
});
