/** What stands in for a server where there is no root: honest SSH in this process, and `/bin/sh` in a scratch folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { chownSync, mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel } from "ssh2";
import { onExit } from "./on-exit.ts";
import { type CommandResult, runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";
import { newSshKeyPair } from "./ssh-keys.ts";
import type { Vps } from "./vps.ts";

// CommonJS: Node finds no named exports in it.
const { Server, utils } = ssh2;

/** As a `Vps`, as far as that goes without root; `service` always fails. */
export type SshHost = Vps & {
  /** The folder that commands start in, with `bin` first in their PATH for shims. */
  root: string;
  /** What this cannot do, in sentences for people. */
  leavesOut: readonly string[];
};

const leavesOut = [
  "there is no root inside: sudo is refused, and no script that needs it can succeed",
  "there is no nginx, php-fpm, MariaDB, cron or service manager",
  "absolute paths are those of this machine, read with the rights of an ordinary user",
  "it has no address of its own: 127.0.0.1 and a high port, so no HTTP-01 challenge can reach it",
  "keys are authorized by the handle only, not by an authorized_keys file inside",
  "cutting the network resets connections instead of losing packets",
] as const;

type Access = { keys: ParsedKey[]; password: string | undefined };

/** Starts it on a free loopback port. As root its commands run as the user nobody, never as root. */
export async function startSshHost({
  name = "ssh-host",
}: {
  name?: string;
} = {}): Promise<SshHost> {
  const scratch = scratchFolder("ssh-host");
  const identity = await ordinaryUser();
  const root = await makeRoot(scratch.path, identity);
  const access: Access = { keys: [], password: undefined };
  const hostKey = newSshKeyPair();
  const running = new Set<ChildProcess>();
  const environment = {
    PATH: `${join(root, "bin")}:/usr/local/bin:/usr/bin:/bin`,
    HOME: join(root, "home"),
    USER: "chom",
    LC_ALL: "C.UTF-8",
  };
  const how = { cwd: root, env: environment, ...identity };
  const server = new Server({ hostKeys: [hostKey.private] }, (client) => {
    client.on("authentication", (context) => decide(context, access));
    client.on("ready", () => serveSessions(client, how, running));
    client.on("error", () => {}); // A client that went away is no news.
  });
  const line = await listen((socket) => server.injectSocket(socket));
  const stop = async () => {
    takeBack();
    await line.close();
    for (const child of running) killGroup(child);
    scratch.remove();
  };
  const takeBack = onExit(stop);
  return {
    name,
    address: "127.0.0.1",
    sshPort: line.port,
    hostKeys: [hostKey.public.split(" ").slice(0, 2).join(" ")],
    user: "chom",
    root,
    leavesOut,
    exec: ([program = "true", ...args], options) =>
      runCommand("env", ["-i", ...pairs(environment), program, ...args], {
        ...options,
        ...identity,
        cwd: root,
      }) satisfies Promise<CommandResult>,
    authorizeKey: async (line) => void access.keys.push(parse(line)),
    setPassword: async (password) => {
      access.password = password;
    },
    lockPassword: async () => {
      access.password = undefined;
    },
    cutNetwork: async () => line.cut(true),
    restoreNetwork: async () => line.cut(false),
    service: async (service) => {
      throw failureOf("tool-missing", `${name} runs no ${service}: it is not a real server`);
    },
    stop,
  };
}

type Line = { port: number; cut: (isCut: boolean) => void; close: () => Promise<void> };

/** A loopback port whose connections can all be dropped, and new ones turned away. */
async function listen(take: (socket: Socket) => void): Promise<Line> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const listener = createServer((socket) => {
    if (isCut) return void socket.destroy();
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).setNoDelay(true);
    take(socket);
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const cut = (now: boolean) => {
    isCut = now;
    if (now) for (const socket of sockets) socket.destroy();
  };
  return {
    port: (listener.address() as AddressInfo).port,
    cut,
    close: async () => {
      cut(true);
      if (listener.listening) await new Promise((done) => listener.close(done));
    },
  };
}

const pairs = (env: Record<string, string>): string[] =>
  Object.entries(env).map(([key, value]) => `${key}=${value}`);

type Identity = { uid?: number; gid?: number };

async function ordinaryUser(): Promise<Identity> {
  if (process.getuid?.() !== 0) return {};
  const id = async (flag: string) => Number((await runCommand("id", [flag, "nobody"])).stdout);
  return { uid: await id("-u"), gid: await id("-g") };
}

async function makeRoot(path: string, { uid, gid }: Identity): Promise<string> {
  const root = join(path, "root");
  for (const folder of [root, join(root, "bin"), join(root, "home")]) mkdirSync(folder);
  // A laptop may let its user sudo without a password: nothing sent to this host may find out.
  const refusal = "#!/bin/sh\necho 'sudo: this stand-in for a server has no root' >&2\nexit 1\n";
  writeFileSync(join(root, "bin/sudo"), refusal, { mode: 0o755 });
  if (uid !== undefined && gid !== undefined) {
    for (const owned of [path, root, join(root, "home")]) chownSync(owned, uid, gid);
  }
  return root;
}

function parse(line: string): ParsedKey {
  const key = utils.parseKey(line);
  if (key instanceof Error) throw key;
  return key;
}

/** RFC 4252: a key first without signature ("would you take it?"), then with one over the session. */
function decide(context: AuthContext, access: Access): void {
  if (context.method === "password" && access.password !== undefined) {
    const [given, known] = [Buffer.from(context.password), Buffer.from(access.password)];
    if (given.length === known.length && timingSafeEqual(given, known)) {
      context.accept();
      return;
    }
  }
  if (context.method === "publickey") {
    const { key, blob, signature, hashAlgo } = context;
    const known = access.keys.find((one) => one.getPublicSSH().equals(key.data));
    const isProven =
      !signature || (blob && known?.verify(blob, signature, hashAlgo as string) === true);
    if (known && isProven) {
      context.accept();
      return;
    }
  }
  context.reject(["publickey", "password"]);
}

type How = { cwd: string; env: Record<string, string> } & Identity;

function serveSessions(client: Connection, how: How, running: Set<ChildProcess>): void {
  client.on("session", (accept) => {
    accept().on("exec", (open, _refuse, { command }) => {
      const child = spawn("/bin/sh", ["-c", command], { ...how, detached: true });
      running.add(child);
      child.on("close", () => running.delete(child));
      connectChannel(open(), child);
    });
  });
}

function connectChannel(channel: ServerChannel, child: ReturnType<typeof spawn>): void {
  const { stdin, stdout, stderr } = child;
  if (!stdin || !stdout || !stderr) return;
  channel.pipe(stdin);
  stdin.on("error", () => {}); // A command may end without reading its input.
  stdout.pipe(channel, { end: false });
  stderr.pipe(channel.stderr, { end: false });
  child.on("error", () => {
    channel.exit(127);
    channel.end();
  });
  child.on("close", (code, signal) => {
    if (signal) channel.exit(signal);
    else channel.exit(code ?? 255);
    channel.end();
  });
  // As sshd does without a terminal: the command loses its pipes, but goes on if it does not care.
  channel.on("close", () => {
    stdin.destroy();
    stdout.destroy();
    stderr.destroy();
  });
  channel.on("error", () => {});
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid) process.kill(-child.pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
