import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { Client, type ConnectConfig } from "ssh2";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { isAlive } from "./child-process.ts";
import { runCommand } from "./run-command.ts";
import { newSshKeyPair } from "./ssh-keys.ts";
import { startVps, sweepStaleVps, type Vps, vpsSupport } from "./vps.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

/** Logs in with the pinned host key, runs one command, gives what it wrote. */
function ssh(vps: Vps, login: ConnectConfig, command: string): Promise<string> {
  const pinned = vps.hostKeys.map((line) => line.split(" ")[1]);
  return new Promise((done, refuse) => {
    const client = new Client();
    client.on("error", refuse).on("ready", () => {
      client.exec(command, (error, channel) => {
        if (error) return refuse(error);
        let text = "";
        channel.on("data", (part: Buffer) => {
          text += part;
        });
        channel.on("close", () => {
          client.end();
          done(text.trim());
        });
      });
    });
    client.connect({
      host: vps.address,
      port: vps.sshPort,
      username: vps.user,
      hostVerifier: (key: Buffer) => pinned.includes(key.toString("base64")),
      ...login,
    });
  });
}

/** Everything of ours that the host can see. */
async function traces(): Promise<string[]> {
  const links = (await runCommand("ip", ["-o", "link"])).stdout.split("\n");
  const netns = (await runCommand("ip", ["netns", "list"])).stdout.split("\n");
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return [...links.filter((l) => l.includes("ch")), ...netns, ...mounts]
    .filter((line) => /chom|: ch\d/.test(line))
    .map((line) => line.replace(/ (state|qdisc|mtu) \S+/g, "").trim());
}

const ownFolders = () => readdirSync("/tmp").filter((n) => n.startsWith(`chom-vps-${process.pid}`));
const ownFaces = () =>
  Object.keys(networkInterfaces()).filter((name) => name.startsWith("chom-br"));

describe.skipIf(!support.ok)("a test server", () => {
  let one: Vps;
  let two: Vps;
  const key = newSshKeyPair();

  beforeAll(async () => {
    [one, two] = await Promise.all([startVps({ name: "one" }), startVps({ name: "two" })]);
  }, 900_000);
  afterAll(async () => {
    await Promise.all([one?.stop(), two?.stop()]);
  });

  test("lets an authorized key in as a user who may sudo, and logs the key's fingerprint", async () => {
    await one.authorizeKey(key.public);
    const who = await ssh(one, { privateKey: key.private }, "id -un; sudo -n id -un; hostname");
    expect(who.split("\n")).toEqual(["chom", "root", "one"]);
    const log = await one.exec(["cat", "/var/log/auth.log"]);
    expect(log.stdout).toMatch(/Accepted key ED25519 SHA256:\S+/);
    const info = await ssh(one, { privateKey: key.private }, "cat $SSH_USER_AUTH");
    expect(info).toMatch(/^publickey ssh-ed25519 /);
  });

  test("refuses strangers, root, and a client that pinned another server's key", async () => {
    const stranger = newSshKeyPair();
    await expect(ssh(one, { privateKey: stranger.private }, "id")).rejects.toThrow(
      /authentication/,
    );
    await one.exec(["sh", "-c", "mkdir -p /root/.ssh && cat > /root/.ssh/authorized_keys"], {
      input: key.public,
    });
    const asRoot = { username: "root", privateKey: key.private };
    await expect(ssh(one, asRoot, "id")).rejects.toThrow(/authentication/);
    const other = { ...one, hostKeys: two.hostKeys };
    await expect(ssh(other, { privateKey: key.private }, "id")).rejects.toThrow(/[Hh]ost/);
    expect(one.hostKeys).not.toEqual(two.hostKeys);
  });

  test("lets a password in only between setPassword and lockPassword", async () => {
    const login = { password: "once-only" };
    await expect(ssh(one, login, "id -un")).rejects.toThrow(/authentication/);
    await one.setPassword(login.password);
    expect(await ssh(one, login, "id -un")).toBe("chom");
    await one.lockPassword();
    await expect(ssh(one, login, "id -un")).rejects.toThrow(/authentication/);
  });

  test("serves PHP that asks MariaDB, at its own address, after a reload of nginx", async () => {
    const [socket] = (await one.exec(["sh", "-c", "ls /run/php/php*.sock"])).stdout.split("\n");
    const site = `server { listen 80 default_server; root /srv; location / {
      include fastcgi.conf; fastcgi_pass unix:${socket};
      fastcgi_param SCRIPT_FILENAME /srv/index.php; } }`;
    await one.exec(["sh", "-c", "cat > /etc/nginx/sites-enabled/t"], { input: site });
    await one.exec(["mariadb"], { input: "create user web@localhost identified by 'pw';" });
    const page = `<?= (new PDO('mysql:unix_socket=/run/mysqld/mysqld.sock', 'web', 'pw'))
      ->query('select 40 + 2')->fetchColumn();`;
    await one.exec(["sh", "-c", "cat > /srv/index.php"], { input: page });
    await expect(fetch(`http://${one.address}/`)).rejects.toThrow();
    await one.service("nginx", "reload");
    await expect
      .poll(() => fetch(`http://${one.address}/`).then((r) => r.text(), String))
      .toBe("42");
  });

  test("reaches its neighbour, and nothing else", async () => {
    const dial = (host: string, port: number) =>
      one.exec(["bash", "-c", `timeout 2 bash -c '</dev/tcp/${host}/${port}'`]);
    expect((await dial(two.address, 22)).code).toBe(0);
    expect((await dial("1.1.1.1", 443)).code).not.toBe(0);
  });

  test("is silent while its network is cut, and back afterwards", async () => {
    const reach = () =>
      new Promise<string>((done) => {
        const socket = connect({ host: two.address, port: 22 });
        const end = (result: string) => {
          clearTimeout(timer);
          socket.destroy();
          done(result);
        };
        const timer = setTimeout(() => end("silent"), 1_000);
        socket.on("data", () => end("answers")).on("error", ({ message }) => end(message));
      });
    expect(await reach()).toBe("answers");
    await two.cutNetwork();
    expect(await reach()).toBe("silent");
    await two.restoreNetwork();
    await expect.poll(reach, { timeout: 30_000 }).toBe("answers");
  });
});

describe.skipIf(!support.ok)("the machine that test servers run on", () => {
  test("is as it was after a server stopped", { timeout: 60_000 }, async () => {
    const [before, faces] = [await traces(), ownFaces()];
    const vps = await startVps();
    await Promise.all([vps.stop(), vps.stop()]);
    expect(ownFolders()).toEqual([]);
    expect(ownFaces()).toEqual(faces);
    expect(await traces()).toEqual(before);
  });

  test("loses the server with a starter that was killed", { timeout: 60_000 }, async () => {
    const program = `import { startVps } from "${new URL("./vps.ts", import.meta.url)}";
      const vps = await startVps();
      console.log(vps.address);
      setInterval(() => {}, 1000);`;
    const starter = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void starter.kill("SIGKILL"));
    const [line] = (await once(starter.stdout, "data")) as [Buffer];
    const address = line.toString().trim();
    const { stdout } = await runCommand("sh", [
      "-c",
      `grep -lz ADDRESS=${address} /proc/[0-9]*/environ`,
    ]);
    const pids = [...stdout.matchAll(/proc\/(\d+)\//g)].map(([, pid]) => Number(pid));
    expect(pids.length).toBeGreaterThan(0);
    starter.kill("SIGKILL");
    await once(starter, "exit");
    await expect.poll(() => pids.filter(isAlive), { timeout: 30_000 }).toEqual([]);
    await sweepStaleVps();
    const bridge = `chom-br${address.split(".")[2]}`;
    expect((await runCommand("ip", ["link", "show", bridge])).code).not.toBe(0);
  });
});
