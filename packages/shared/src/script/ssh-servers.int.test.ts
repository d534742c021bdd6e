import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect as dial, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ensureCached } from "@chom/stack/cache";
import { unpackDebianPackages } from "@chom/stack/debian-package";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { pino } from "pino";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { deliver } from "../job/deliver.ts";
import { Secret } from "../secrets/secret.ts";
import { memoryWorld } from "../testing/memory-engine.ts";
import { scanFamily } from "../testing/scan-family.ts";
import { type Script, script, type Variables } from "./script.ts";
import type { RunContext, Servers } from "./servers.ts";
import type { SessionTarget } from "./sessions.ts";
import { sshServers } from "./ssh-servers.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const field = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
function keyPair() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const blob = Buffer.concat([field(Buffer.from("ssh-ed25519")), field(raw)]).toString("base64");
  return { line: `ssh-ed25519 ${blob} test`, privateKey };
}

const scratch = scratchFolder("script-test");
const folder = scratch.path;
let made = 0;
/** A script of this text, with any variables, that answers its readers. */
function of(text: string, timeoutMs = 20_000): Script<Variables, (key: string) => string> {
  made += 1;
  const file = join(folder, `test-${made}.sh`);
  writeFileSync(file, text);
  return script({
    file: new URL(`file://${file}`),
    timeoutMs,
    variables: (input: Variables) => input,
    output: (fields) => (key) => fields.base64(key).toString("utf8"),
  });
}

/** A cable that can be pulled: half of the connections go through it. */
async function cable(to: { address: string; port: number }) {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = dial(to.port, to.address);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => sockets.forEach((socket) => void socket.destroy()),
    close: () => server.close(),
  };
}

const failureOfRun = (run: Promise<unknown>): Promise<Failure> =>
  run.then(
    () => Promise.reject(new Error("it succeeded")),
    (error: Failure) => error,
  );

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe.skipIf(!support.ok)("scripts on a real server", () => {
  let vps: Vps;
  let servers: Servers;
  let through: Awaited<ReturnType<typeof cable>>;
  let viaCable: Servers;
  const key = keyPair();
  const reported: string[] = [];
  const signed: string[] = [];
  const logger = pino({ level: "silent" });
  let job = 0;
  const nextJob = () => {
    job += 1;
    return job;
  };

  const serversTo = (target: () => Partial<SessionTarget>) =>
    sshServers({
      openSession: async () => ({
        address: vps.address,
        port: vps.sshPort,
        user: vps.user,
        hostKeys: vps.hostKeys,
        publicKeys: [key.line],
        ...target(),
      }),
      sign: async ({ serverId }, _, data) => {
        signed.push(serverId);
        return sign(null, data, key.privateKey);
      },
      reportHostKey: async (_, hostKey) => void reported.push(hostKey),
      logger,
    });
  const context = (more: Partial<RunContext> = {}): RunContext => ({
    tenant: "tenant-1",
    jobId: `job-${nextJob()}`,
    fence: "1.10",
    serverId: "server-1",
    leaseKeys: [`site.${job}`],
    step: "step",
    signal: new AbortController().signal,
    ...more,
  });
  const inside = async (text: string) => (await vps.exec(["sh", "-c", text])).stdout;
  const count = async (ledger: string) => Number(await inside(`cat ${ledger} 2>/dev/null | wc -l`));

  beforeAll(async () => {
    vps = await startVps();
    await vps.authorizeKey(key.line);
    through = await cable({ address: vps.address, port: vps.sshPort });
    servers = serversTo(() => ({}));
    viaCable = serversTo(() => ({ address: "127.0.0.1", port: through.port }));
  }, 900_000);
  afterAll(async () => {
    await servers?.close();
    await viaCable?.close();
    through?.close();
    await vps?.stop();
    scratch.remove();
  });

  const bytes = Array.from({ length: 0x2ff }, (_, code) => String.fromCodePoint(code + 1)).join("");
  const hostile = [
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "'; touch /tmp/pwned; '",
    '"; touch /tmp/pwned; "',
    "-n",
    "--checkpoint-action=exec=touch /tmp/pwned",
    "line\nline\n\n",
    "\n",
    "",
    "\r\n",
    "a\\",
    "*?[a]~{x,y}",
    "раypal \u202e\u2028 😀",
    bytes,
    "x".repeat(200_000),
  ];
  const echo = of(hostile.map((_, at) => `out64 v${at} "$V${at}"`).join("\n"));

  test.each(["dash", "bash", "busybox"])(
    "hostile values arrive byte by byte and run nothing where sh is %s",
    async (shell) => {
      if (shell === "busybox") {
        const unpacked = await ensureCached(
          "busybox-bookworm",
          (into) => unpackDebianPackages(["busybox-static"], "bookworm", into, () => {}),
          () => {},
        );
        const input = readFileSync(join(unpacked, "bin/busybox"));
        await vps.exec(["sh", "-c", "cat >/usr/bin/busybox; chmod 755 /usr/bin/busybox"], {
          input,
        });
      }
      await inside(`ln -sf $(command -v ${shell}) /bin/sh`);
      try {
        const input = Object.fromEntries(hostile.map((value, at) => [`V${at}`, value]));
        const { output } = await servers.run(context(), echo, input);
        expect(hostile.map((_, at) => output(`v${at}`))).toEqual(hostile);
        expect(await inside("ls /tmp/pwned 2>&1")).toMatch(/No such file/i);
        const failure = await failureOfRun(
          servers.run(context(), of("echo why >&2; fail disk-full 'no room'"), {}),
        );
        expect(failure).toMatchObject({ code: "disk-full", kind: "operator" });
        const written = of(
          'printf "$V" | write_file /root/a.txt 0640 root:www-data; need cat\n' +
            'as_user www-data sh -c "id -un" >/root/b.txt; disk_check / 4096\n' +
            'out64 text "$(cat /root/a.txt)"; out64 who "$(cat /root/b.txt)"\n' +
            'out64 mode "$(stat -c "%a %U %G" /root/a.txt)"',
        );
        const answer = (await servers.run(context(), written, { V: "hello" })).output;
        expect([answer("text"), answer("who"), answer("mode")]).toEqual([
          "hello",
          "www-data",
          "640 root www-data",
        ]);
        const stopped = await failureOfRun(
          servers.run(context(), of("sleep 77 & sleep 77", 1_000), {}),
        );
        expect(stopped.code).toBe("step-timeout");
        expect(await inside("pgrep -fx 'sleep 77' | wc -l")).toBe("0\n");
      } finally {
        await inside("ln -sf dash /bin/sh");
      }
    },
    60_000,
  );

  test("a cut connection leaves the run going, and its result is found without a second execution", async () => {
    const counted = of('echo run >>/root/cut; sleep 3; out64 done "$(wc -l </root/cut)"');
    const at = context();
    const first = failureOfRun(viaCable.run(at, counted, {}));
    await expect.poll(() => count("/root/cut"), { timeout: 30_000 }).toBe(1);
    through.cut();
    expect(await first).toMatchObject({ code: "ssh-connection-lost", kind: "unknown" });
    // Still running: the next attempt waits for it. Then finished: the attempt after that reads it.
    for (const fence of ["1.11", "1.12"]) {
      const again = await servers.run({ ...at, fence }, counted, {});
      expect(again.output("done").trim()).toBe("1");
    }
    expect(await count("/root/cut")).toBe(1);
  });

  test("a failed run is answered to its own attempt and done again by the next", async () => {
    const failing = of("echo run >>/root/failing; exit 3");
    const at = context();
    for (const fence of ["1.10", "1.10", "1.11"]) {
      const failure = await failureOfRun(servers.run({ ...at, fence }, failing, {}));
      expect(failure.code).toBe("unexpected");
    }
    expect(await count("/root/failing")).toBe(2);
  });

  test("a newer attempt of another job ends what an abandoned one left running", async () => {
    const at = context();
    const left = failureOfRun(viaCable.run(at, of("(trap '' TERM; sleep 901) & sleep 901"), {}));
    await expect.poll(() => inside("pgrep -cfx 'sleep 901'")).toBe("2\n");
    through.cut();
    expect((await left).code).toBe("ssh-connection-lost");
    const next = context({ leaseKeys: at.leaseKeys, fence: "1.20" });
    const { output } = await servers.run(
      next,
      of('out64 left "$(pgrep -cfx "sleep 901")" || :'),
      {},
    );
    expect(output("left")).toBe("0");
    const late = await failureOfRun(servers.run(at, of("echo late >>/root/late"), {}));
    expect(late).toMatchObject({ code: "fenced", kind: "permanent" });
    expect(await count("/root/late")).toBe(0);
  }, 30_000);

  test("a stop ends what a cut run left, and refuses what it still sends", async () => {
    const at = context();
    const left = failureOfRun(viaCable.run(at, of("(trap '' TERM; sleep 905) & sleep 905"), {}));
    await expect.poll(() => inside("pgrep -cfx 'sleep 905'")).toBe("2\n");
    through.cut();
    expect((await left).code).toBe("ssh-connection-lost");
    await servers.stop({ ...at, fence: "1.20" });
    expect(await inside("pgrep -cfx 'sleep 905'")).toBe("0\n");
    const late = await failureOfRun(servers.run(at, of("echo late >>/root/late-stop"), {}));
    expect(late.code).toBe("fenced");
    expect(await count("/root/late-stop")).toBe(0);
    expect((await failureOfRun(servers.stop(at))).code).toBe("fenced");
    // Nothing runs there: that is proven, not a failure.
    await servers.stop(context());
  }, 120_000);

  test("a cancelled job that does not stop ends what it left on the server before its journal closes", async () => {
    const world = memoryWorld();
    const hanging = of("(trap '' TERM; sleep 906) & sleep 906", 600_000);
    const running = { ...hanging, output: () => undefined };
    const host = scanFamily(
      async (_, run) => {
        await run.script("deploy", running, "server-1", {}).catch(() => {});
        return new Promise<never>(() => {});
      },
      { exclusive: () => [`site.escalated`], timeoutMs: 600_000 },
      { world, servers: viaCable },
    );
    await host.send();
    const [delivery] = world.queue.ready(1);
    if (!delivery) throw new Error("an item is expected");
    const ended = deliver(host.engine, delivery, new AbortController().signal);
    await expect.poll(() => inside("pgrep -cfx 'sleep 906'")).toBe("2\n");
    // The server is cut off from the worker, so the run goes on there when the job is cancelled.
    through.cut();
    await world.clock.advance(1_000);
    await host.control("cancel");
    await world.clock.advance(12_000);
    await ended;
    expect((await host.names()).slice(-3)).toEqual([
      "JobCancelEscalated",
      "JobStarted",
      "JobCancelled",
    ]);
    expect((await host.journal("job-1")).at(-1)?.data).toMatchObject({ openServerIds: [] });
    expect(await inside("pgrep -cfx 'sleep 906'")).toBe("0\n");
  }, 120_000);

  test("an attempt with a lower epoch is refused, whatever its number", async () => {
    const at = context({ fence: "2.5" });
    await servers.run(at, of(":"), {});
    expect((await failureOfRun(servers.run({ ...at, fence: "1.900" }, of(":"), {}))).code).toBe(
      "fenced",
    );
  });

  test("a run that was killed with all its processes is done again", async () => {
    const killed = of("echo run >>/root/killed; [ $(wc -l </root/killed) -gt 1 ] || sleep 902");
    const at = context();
    const first = failureOfRun(servers.run(at, killed, {}));
    await expect.poll(() => inside("pgrep -cfx 'sleep 902'")).toBe("1\n");
    await inside("pkill -KILL -s $(ps -o sid= -p $(pgrep -fx 'sleep 902'))");
    expect((await first).kind).toBe("unknown");
    await servers.run({ ...at, fence: "1.11" }, killed, {});
    expect(await count("/root/killed")).toBe(2);
  });

  test("a server with another host key is given up before any login, and reported", async () => {
    const other = keyPair().line.split(" ").slice(0, 2).join(" ");
    const before = await inside("grep -c 'Accepted key\\|Failed\\|Postponed' /var/log/auth.log");
    signed.length = 0;
    const wrong = serversTo(() => ({ hostKeys: [other] }));
    const failure = await failureOfRun(wrong.run(context(), of(":"), {}));
    expect(failure).toMatchObject({ code: "ssh-host-key-mismatch", kind: "security" });
    expect(reported).toEqual(vps.hostKeys);
    expect(signed).toEqual([]);
    expect(await inside("grep -c 'Accepted key\\|Failed\\|Postponed' /var/log/auth.log")).toBe(
      before,
    );
    await wrong.close();
  });

  test("an account that may not become root, an unknown key and a closed port each have their code", async () => {
    await inside(
      "useradd -m plain; mkdir -p ~plain/.ssh; cp ~chom/.ssh/authorized_keys ~plain/.ssh/; chown -R plain: ~plain/.ssh; usermod -p '*' plain",
    );
    const code = async (target: Partial<SessionTarget>) => {
      const these = serversTo(() => target);
      const failure = await failureOfRun(these.run(context(), of(":"), {}));
      await these.close();
      return failure.code;
    };
    expect(await code({ user: "plain" })).toBe("sudo-denied");
    expect(await code({ publicKeys: [keyPair().line] })).toBe("ssh-auth-failed");
    expect(await code({ port: 1 })).toBe("ssh-connection-refused");
  });

  test("a server that says nothing is given up in time", async () => {
    const mute = createServer(() => {}).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const these = sshServers({
      openSession: async () => ({
        address: "127.0.0.1",
        port: (mute.address() as AddressInfo).port,
        user: "chom",
        hostKeys: vps.hostKeys,
        publicKeys: [key.line],
      }),
      sign: async () => Buffer.alloc(0),
      reportHostKey: async () => {},
      logger,
      deadlines: { greetMs: 500 },
    });
    expect((await failureOfRun(these.run(context(), of(":"), {}))).code).toBe(
      "ssh-connect-timeout",
    );
    mute.close();
    await these.close();
  });

  /** Lets so many bytes flow down and up; answers the most memory that the process had meanwhile. */
  async function flow(size: number): Promise<number> {
    let most = 0;
    const watch = setInterval(() => {
      // What nobody holds does not count: on a busy machine the collector alone would come late.
      collectGarbage();
      most = Math.max(most, process.memoryUsage.rss());
    }, 100);
    const down = await servers.transfer(
      context(),
      of(`head -c ${size} /dev/zero; out64 x y`),
      {},
      {
        async download(stream) {
          let received = 0;
          for await (const chunk of stream) received += (chunk as Buffer).length;
          return received;
        },
      },
    );
    const block = Buffer.alloc(65_536, 7);
    const up = await servers.transfer(
      context(),
      of('out64 n "$(wc -c)"'),
      {},
      {
        upload: async () =>
          Readable.from(
            (function* () {
              for (let sent = 0; sent < size; sent += block.length) yield block;
            })(),
          ),
      },
    );
    clearInterval(watch);
    expect(down.received).toBe(size);
    expect(up.output("n").trim()).toBe(String(size));
    return most;
  }

  test("what flows in either direction is not kept: 400 MB more take no 128 MB more", async () => {
    const megabytes = 1024 * 1024;
    // The first flow also pays for buffers and the collector's slack, which differ by machine.
    const warm = await flow(100 * megabytes);
    expect((await flow(500 * megabytes)) - warm).toBeLessThan(128 * megabytes);
  }, 90_000);

  test("a few bytes arrive whole, again and again", async () => {
    for (const sent of ["", "x", "12345"]) {
      const upload = async () => Readable.from([Buffer.from(sent)]);
      const { output } = await servers.transfer(context(), of('out64 v "$(cat)"'), {}, { upload });
      expect(output("v")).toBe(sent);
    }
  });

  test("a download ends with the script's failure, never as if it were whole", async () => {
    let ended = false;
    const cut = servers.transfer(
      context(),
      of("head -c 100000 /dev/zero; fail db-locked"),
      {},
      {
        async download(stream) {
          for await (const _ of stream);
          ended = true;
        },
      },
    );
    expect((await failureOfRun(cut)).code).toBe("db-locked");
    expect(ended).toBe(false);
  });

  test("an upload that is cut is not the end of the bytes: the script is ended instead", async () => {
    const counted = of(
      "echo begun >>/root/upload; cat >/root/part; echo ended >>/root/upload; sleep 30",
    );
    const slow = Readable.from(
      (async function* () {
        yield Buffer.alloc(1_000);
        await new Promise((resolve) => setTimeout(resolve, 20_000).unref());
      })(),
    );
    const run = failureOfRun(
      viaCable.transfer(context(), counted, {}, { upload: async () => slow }),
    );
    await expect.poll(() => count("/root/upload"), { timeout: 30_000 }).toBe(1);
    through.cut();
    expect((await run).code).toBe("ssh-connection-lost");
    await expect.poll(() => inside("pgrep -cfx 'cat'"), { timeout: 30_000 }).toBe("0\n");
    expect(await inside("cat /root/upload")).toBe("begun\n");
  }, 30_000);

  test("an upload whose launcher is killed is not the end of the bytes either", async () => {
    const counted = of(
      "echo begun >>/root/orphan; cat >/root/part; echo ended >>/root/orphan; sleep 30",
    );
    const endless = new Readable({ read: () => {} });
    endless.push(Buffer.alloc(1_000));
    const run = failureOfRun(
      viaCable.transfer(context(), counted, {}, { upload: async () => endless }),
    );
    await expect.poll(() => count("/root/orphan")).toBe(1);
    const launchers = "pgrep -fx '^sh -c umask 077; IFS= read.*'";
    await inside(`kill -9 $(${launchers})`);
    // More than the time after which the end of the input would have been seen.
    expect(await inside("sleep 1; cat /root/orphan")).toBe("begun\n");
    through.cut();
    await run;
    await expect.poll(() => inside("pgrep -cfx 'cat'")).toBe("0\n");
    expect(await inside("cat /root/orphan")).toBe("begun\n");
  });

  test("a cancelled run is ended on the server", async () => {
    const cancel = new AbortController();
    const run = failureOfRun(servers.run(context({ signal: cancel.signal }), of("sleep 903"), {}));
    await expect.poll(() => inside("pgrep -cfx 'sleep 903'")).toBe("1\n");
    cancel.abort(new Error("cancelled"));
    expect((await run).message).toBe("cancelled");
    expect(await inside("pgrep -cfx 'sleep 903'")).toBe("0\n");
  });

  test("a secret is in no process list, environment, file name or message", async () => {
    const secret = "correct-horse-battery-staple";
    const noisy = of(
      'printf "%s\\n" "$PASSWORD" >&2; sleep 2; printf "%s" "$PASSWORD" | base64 >&2; fail db-auth "no $PASSWORD"',
    );
    const run = failureOfRun(servers.run(context(), noisy, { PASSWORD: new Secret(secret) }));
    const looks: string[] = [];
    for (let look = 0; look < 8; look += 1) {
      looks.push(
        await inside("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"),
      );
    }
    const failure = await run;
    expect(looks.join("")).toContain("sleep");
    expect(looks.join("")).not.toContain(secret);
    expect(looks.join("")).not.toContain(Buffer.from(secret).toString("base64"));
    expect(`${failure.message}${failure.stack}`).not.toContain(secret);
    expect(failure.message).toContain("[secret]");
    expect(await inside("find /var/lib/chom -name program")).toBe("");
  });

  test("finished runs are removed when they are a week old", async () => {
    await servers.run(context(), of(":"), {});
    await inside("find /var/lib/chom/runs -mindepth 2 -exec touch -d '8 days ago' {} +");
    await servers.run(context(), of(":"), {});
    expect(await inside("find /var/lib/chom/runs -mindepth 2 -maxdepth 2 | wc -l")).toBe("1\n");
  });

  test("case 11: what a script prints is escaped and cut, with size and hash of the whole", async () => {
    const noisy = of(
      `printf '\\033[2J{"level":"fatal"}\\r' >&2; head -c 3000000 /dev/zero | tr '\\0' x >&2; printf '\\033]0;owned\\007\\n' >&2`,
    );
    const { outputTail } = await servers.run(context(), noisy, {});
    const whole = Buffer.concat([
      Buffer.from('\u001b[2J{"level":"fatal"}\r'),
      Buffer.alloc(3_000_000, "x"),
      Buffer.from("\u001b]0;owned\u0007\n"),
    ]);
    const sha256 = createHash("sha256").update(whole).digest("hex");
    expect(outputTail.split("\n")[0]).toBe(`[of ${whole.length} bytes, SHA-256 ${sha256}]`);
    expect(outputTail).toContain("x\\x1b]0;owned\\x07");
    expect([...outputTail].every((char) => char >= " " || char === "\n")).toBe(true);
    expect(outputTail.length).toBeLessThanOrEqual(4_096);
    const lied = await failureOfRun(
      servers.run(context(), of("printf '\\033[1mfake\\r' >&2; exit 3"), {}),
    );
    expect(lied.message).toContain("\\x1b[1mfake");
  });

  test("a full disk has its code even when not even the result can be stored", async () => {
    const failure = await failureOfRun(
      servers.run(context(), of("echo 'write: No space left on device' >&2; exit 1"), {}),
    );
    expect(failure.code).toBe("disk-full");
  });

  test("results are strict: anything but key=value, or more than 1 MiB, is refused", async () => {
    const code = async (text: string) =>
      (await failureOfRun(servers.run(context(), of(text), {}))).code;
    expect(await code("echo hello >&3")).toBe("protocol-error");
    expect(await code("head -c 1100000 /dev/zero | tr '\\0' a >&3")).toBe("output-too-large");
    expect(await code("no-such-tool-here")).toBe("tool-missing");
    expect(await code("sh -c 'kill -9 $PPID'; :")).toBe("out-of-memory");
  });
});
