/** A key whose line names the runner as its command, on a real sshd: what it can do, and what it cannot. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { pino } from "pino";
import ssh2, { type Client } from "ssh2";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import { commandLine, type Launch, openingOf, programOf, runnerList } from "./program.ts";
import { runnerFiles } from "./runner.ts";
import { type Script, script, type Variables } from "./script.ts";
import type { RunContext, Servers } from "./servers.ts";
import { sshServers } from "./ssh-servers.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const scratch = scratchFolder("runner-test");
const texts = {
  echo: 'out64 v "$V"; out64 env "$(env | sort)"\n',
  count: 'cat >/dev/null; echo run >>/root/flow; out n "$(wc -l </root/flow)"\n',
  down: 'cat; printf "%s" "$V"\n',
};
const fileOf = (name: string, text: string) => {
  const path = join(scratch.path, `${name}.sh`);
  writeFileSync(path, text);
  return new URL(`file://${path}`);
};
const of = (name: string, text: string): Script<Variables, (key: string) => string> =>
  script({
    file: fileOf(name, text),
    timeoutMs: 20_000,
    variables: (input: Variables) => input,
    output: (fields) => (key) => fields.base64(key).toString("utf8"),
  });

const pair = generateKeyPairSync("ed25519");
const jwk = pair.publicKey.export({ format: "jwk" });
const wire = (...parts: Buffer[]) =>
  Buffer.concat(
    parts.flatMap((part) => {
      const size = Buffer.alloc(4);
      size.writeUInt32BE(part.length);
      return [size, part];
    }),
  );
const blob = wire(Buffer.from("ssh-ed25519"), Buffer.from(jwk.x ?? "", "base64url"));
const line = `ssh-ed25519 ${blob.toString("base64")}`;
/** As OpenSSH stores a key that no passphrase protects; node knows no such export. */
function privateKeyFile(): string {
  const check = Buffer.alloc(8);
  const seed = Buffer.from(pair.privateKey.export({ format: "jwk" }).d ?? "", "base64url");
  const raw = Buffer.from(jwk.x ?? "", "base64url");
  const body = Buffer.concat([
    check,
    wire(Buffer.from("ssh-ed25519"), raw, Buffer.concat([seed, raw]), Buffer.from("test")),
  ]);
  const padding = Buffer.from(
    Array.from({ length: (8 - (body.length % 8)) % 8 }, (_, at) => at + 1),
  );
  const none = Buffer.from("none");
  const count = Buffer.from([0, 0, 0, 1]);
  const whole = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    wire(none, none, Buffer.alloc(0)),
    count,
    wire(blob, Buffer.concat([body, padding])),
  ]);
  const lines = whole.toString("base64").match(/.{1,70}/g) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

describe.skipIf(!support.ok)("a key that may start the runner only", () => {
  let vps: Vps;
  let servers: Servers;
  /** With a log-in for each run. */
  let anew: Servers;
  let fence = 10;
  const context = (): RunContext => {
    fence += 1;
    return {
      ...{ tenant: "tenant-1", jobId: `job-${fence}`, fence: `1.${fence}`, serverId: "server-1" },
      ...{ leaseKeys: [`site.${fence}`], step: "step", signal: AbortSignal.timeout(30_000) },
    };
  };
  const inside = async (text: string, input = "") =>
    (await vps.exec(["sh", "-c", text], { input })).stdout;
  const authorize = (options: string) =>
    inside(
      `mkdir -p /home/${vps.user}/.ssh && cat >/home/${vps.user}/.ssh/authorized_keys && chown -R ${vps.user}: /home/${vps.user}/.ssh`,
      `${options} ${line}\n`,
    );
  const runnerOnly = 'restrict,command="exec /usr/local/lib/chom/runner"';
  const failureOf = (run: Promise<unknown>): Promise<Failure> =>
    run.then(
      () => Promise.reject(new Error("it succeeded")),
      (error: Failure) => error,
    );

  beforeAll(async () => {
    vps = await startVps();
    const list = runnerList(Object.values(texts));
    await inside("mkdir -p /usr/local/lib/chom && cat >/usr/local/lib/chom/scripts.sha256", list);
    await inside(
      "cat >/usr/local/lib/chom/runner && chmod 755 /usr/local/lib/chom/runner",
      runnerFiles().runner,
    );
    // All that the account needs of sudo is the runner.
    await inside(
      `for f in /etc/sudoers.d/*; do sed -i '/^${vps.user}/d' "$f"; done; sed -i '/^${vps.user}/d' /etc/sudoers
      echo '${vps.user} ALL=(root) NOPASSWD: /usr/local/lib/chom/runner' >/etc/sudoers.d/chom`,
    );
    await authorize(runnerOnly);
    const session = { address: vps.address, port: vps.sshPort, user: vps.user };
    const ports = {
      openSession: async () => ({
        ...{ ...session, hostKeys: vps.hostKeys, publicKeys: [] },
        oneTime: { privateKey: new Secret(privateKeyFile()) },
      }),
      sign: async () => Promise.reject(new Error("nothing is signed here")),
      reportHostKey: async () => {},
      logger: pino({ level: "silent" }),
    };
    servers = sshServers(ports);
    anew = sshServers({ ...ports, idleMs: 1 });
  }, 900_000);
  afterAll(async () => {
    await Promise.all([servers?.close(), anew?.close()]);
    await vps?.stop();
    scratch.remove();
  });

  test.each(["dash", "bash"])(
    "runs the listed scripts with any values, detached, with streams, and stops them, where sh is %s",
    async (shell) => {
      await inside(`ln -sf $(command -v ${shell}) /bin/sh`);
      onTestFinished(async () => void (await inside("ln -sf dash /bin/sh")));
      for (const value of ["", "$(touch /tmp/pwned)\n'\"`x`\n\n", "ü".repeat(20_000)]) {
        const { output } = await servers.run(context(), of("echo", texts.echo), { V: value });
        expect(output("v")).toBe(value);
        expect(output("env")).toContain("chom_runner=yes");
      }
      const bytes = Buffer.from("uploaded".repeat(50_000));
      const { received } = await servers.transfer(
        context(),
        of("down", texts.down),
        { V: "and the end" },
        {
          upload: async () => Readable.from([bytes]),
          download: async (from) => buffer(from),
        },
      );
      expect(received.equals(Buffer.concat([bytes, Buffer.from("and the end")]))).toBe(true);
      await servers.stop(context());
      expect(await inside("ls /tmp/pwned 2>&1")).toMatch(/No such file/i);
    },
    60_000,
  );

  /** A log-in with the key as any client makes it. */
  async function client(): Promise<Client> {
    const made = new ssh2.Client();
    onTestFinished(() => void made.destroy());
    const ready = new Promise<void>((resolve, reject) =>
      made.once("ready", resolve).once("error", reject),
    );
    made.connect({
      ...{ host: vps.address, port: vps.sshPort, username: vps.user },
      privateKey: privateKeyFile(),
    });
    await ready;
    return made;
  }
  type Ending = { out: string; code: number | null };
  const ending = (channel: ssh2.ClientChannel): Promise<Ending> =>
    new Promise((resolve) => {
      let out = "";
      let code: number | null = null;
      channel.on("data", (text: Buffer) => (out += text.toString()));
      channel.stderr.on("data", (text: Buffer) => (out += text.toString()));
      channel.on("exit", (status: number | null) => (code = status));
      channel.on("close", () => resolve({ out, code }));
    });
  const executed = (ssh: Client, command: string, input: Buffer | string): Promise<Ending> =>
    new Promise((resolve, reject) =>
      ssh.exec(command, (error, channel) => {
        if (error) return reject(error);
        resolve(ending(channel));
        channel.on("error", () => {});
        channel.end(input);
      }),
    );

  test("case 81: it opens no shell, terminal, file transfer, forward or agent, and runs no other command", async () => {
    const refusal = "with this key only scripts of CHOM are run";
    const ssh = await client();
    for (const command of [
      "id",
      `${commandLine}; id`,
      "/usr/lib/openssh/sftp-server",
      "scp -t /",
    ]) {
      expect(await executed(ssh, command, "id\n")).toMatchObject({
        code: 126,
        out: expect.stringContaining(refusal),
      });
    }
    const shell = await new Promise<Ending>((resolve, reject) =>
      ssh.shell(false, (error, channel) => {
        if (error) return reject(error);
        resolve(ending(channel));
        channel.end("id >/tmp/pwned\n");
      }),
    );
    expect(shell).toMatchObject({ code: 126, out: expect.stringContaining(refusal) });
    const refused = (ask: (done: (error?: Error | null) => void) => void) =>
      new Promise<boolean>((resolve) => ask((error) => resolve(error instanceof Error)));
    const own = await client();
    expect(await refused((done) => own.shell({}, done))).toBe(true);
    expect(await refused((done) => own.sftp(done))).toBe(true);
    expect(
      await refused((done) => own.forwardOut("127.0.0.1", 1, "127.0.0.1", vps.sshPort, done)),
    ).toBe(true);
    expect(await refused((done) => own.forwardIn("127.0.0.1", 8_099, done))).toBe(true);
    expect(await inside("ls /tmp/pwned 2>&1")).toMatch(/No such file/i);
  }, 60_000);

  test("case 81: it runs no other program, launcher, variable or hidden byte, however close to a listed one", async () => {
    const ssh = await client();
    const launch = (): Launch => ({
      ...context(),
      ...{ mode: "run", timeoutMs: 5_000, upload: false },
    });
    const evil = "touch /tmp/pwned\n";
    const echo = programOf(texts.echo, { V: "x" });
    const set = (from: string | RegExp, to: string) => {
      const changed = echo.replace(from, () => to);
      expect(changed).not.toBe(echo);
      return changed;
    };
    const [pair = ""] = /V=\$\(.*\nV=.*\n/.exec(echo) ?? [];
    const named = (name: string) => set(pair, pair.replaceAll("V", name));
    const sent = async (opening: Buffer) => {
      const { code, out } = await executed(ssh, commandLine, opening);
      return code === 126 && out.includes("chom-runner: ");
    };
    const programs = {
      "another script": programOf(evil, {}),
      "one line more": echo + evil,
      "a value that is none": set("'eA=='", "'eA=='$(touch /tmp/pwned)''"),
      "a reserved name": named("PATH"),
      "a name of the transport": named("chom_runner"),
      "half a value": set(/\nV=\$\{V%\.\}/, ""),
      "a code list that is code": set(
        /chom_temporary='[^']*'/,
        "chom_temporary='$(touch /tmp/pwned)'",
      ),
      "a hidden byte": set("umask 027", "umask 027\0; touch /tmp/pwned"),
    };
    for (const [what, program] of Object.entries(programs)) {
      expect(await sent(openingOf(launch(), program)), what).toBe(true);
    }
    const good = openingOf(launch(), echo).toString("latin1").split("\n");
    const start = Buffer.from(good[0] ?? "", "base64").toString("utf8");
    for (const spoiled of [
      `${start}${evil}`,
      start.replace("chom_timeout=5", "chom_timeout=5; touch /tmp/pwned"),
      start.replace(/chom_job=.*/, "chom_job=../../../tmp/x"),
      start.replace(/chom_keys='[^']*'/, "chom_keys='$(touch /tmp/pwned)'"),
      evil,
    ]) {
      expect(spoiled).not.toBe(start);
      const opening = `${Buffer.from(spoiled).toString("base64")}\n${good[1]}\n`;
      expect(await sent(Buffer.from(opening)), spoiled.slice(0, 80)).toBe(true);
    }
    expect(await inside("ls /tmp/pwned 2>&1")).toMatch(/No such file/i);
    const failure = await failureOf(servers.run(context(), of("other", evil), {}));
    expect(failure).toMatchObject({ code: "permission-denied", kind: "operator" });
    expect(failure.message).toContain("install the runner of this release");
  }, 120_000);

  test("case 81: a key is refused from an address that its line does not name", async () => {
    await authorize(`${runnerOnly},from="192.0.2.0/24,2001:db8::1"`);
    expect((await failureOf(anew.run(context(), of("echo", texts.echo), { V: "x" }))).code).toBe(
      "ssh-auth-failed",
    );
    const gateway = (
      await inside("ip -4 route show default | sed 's/.* via \\([0-9.]*\\).*/\\1/'")
    ).trim();
    const from = gateway === "" ? vps.address.replace(/\.\d+$/, ".0/24") : `${gateway}/32`;
    await authorize(`${runnerOnly},from="${from}"`);
    const { output } = await anew.run(context(), of("echo", texts.echo), { V: "x" });
    expect(output("v")).toBe("x");
    await authorize(runnerOnly);
  }, 60_000);

  test("the runner's text is the one that is installed, and its list has no program that installs it", () => {
    const { list } = runnerFiles();
    const installs = readFileSync(
      new URL("../../../../services/credentials/src/scripts/install-runner.sh", import.meta.url),
      "utf8",
    );
    const [, , program] = runnerList([installs]).split("\n");
    expect(program).toMatch(/^program [0-9a-f]{64}$/);
    expect(list.split("\n")).not.toContain(program);
    expect(list.split("\n").length).toBeGreaterThan(30);
  });
});
