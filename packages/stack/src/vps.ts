/** A real Debian server for tests and the demo: own root, processes and network, on this machine. Needs root. */
import { randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { failureOf } from "@chom/shared/failure/failure";
import { type Child, startChild, waitUntilReady } from "./child-process.ts";
import { onExit } from "./on-exit.ts";
import { type Progress, silent } from "./progress.ts";
import { type CommandResult, runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";
import { ensureVpsBase } from "./vps-base.ts";
import { claimNetwork, type VpsNetwork } from "./vps-network.ts";
import { vpsSupport } from "./vps-support.ts";

export { ensureVpsBase, vpsSupport };
export { sweepStaleVps } from "./vps-network.ts";

export type VpsOptions = { name?: string; progress?: Progress };

export type Vps = {
  name: string;
  /** Its own IPv4 address, reachable from this machine and from the other servers of this process. */
  address: string;
  sshPort: number;
  /** Public host keys, `ssh-ed25519 AAAA…`, new for every server. */
  hostKeys: string[];
  /** May `sudo` without a password. Its logins, with key fingerprints, are in /var/log/auth.log. */
  user: string;
  /** Runs a program as root inside, without SSH: for setting up and looking, never for the thing under test. */
  exec: (
    argv: readonly string[],
    options?: { input?: string | Buffer; timeoutMs?: number },
  ) => Promise<CommandResult>;
  /** Lets a public key (an authorized_keys line) log in as `user`. */
  authorizeKey: (line: string) => Promise<void>;
  /** Lets `user` log in with this password, until `lockPassword`. At first none works. */
  setPassword: (password: string) => Promise<void>;
  lockPassword: () => Promise<void>;
  /** Pulls the cable: packets are lost both ways, connections stay half open. */
  cutNetwork: () => Promise<void>;
  restoreNetwork: () => Promise<void>;
  /** `start`, `stop`, `reload` … of `ssh`, `nginx`, `mariadb`, `php8.2-fpm`, `cron`. */
  service: (name: string, verb: string) => Promise<void>;
  /** Ends everything inside and removes the link. Idempotent. */
  stop: () => Promise<void>;
};

const initScript = fileURLToPath(new URL("./vps-init.sh", import.meta.url));
const namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"];

/** One network for all servers of this process; it goes with the last of them. */
let network: Promise<VpsNetwork> | undefined;
let running = 0;

/**
 * Starts a server and waits until sshd, nginx, php-fpm and MariaDB run (1 to 3 s; the first ever makes the base,
 * see `ensureVpsBase`). It dies with this process, however that ends. Fails with `tool-missing` or `service-down`.
 */
export async function startVps({ name, progress = silent }: VpsOptions = {}): Promise<Vps> {
  const support = await vpsSupport();
  if (!support.ok) throw failureOf("tool-missing", support.reason);
  const base = await ensureVpsBase(progress);
  running += 1;
  network ??= claimNetwork(progress);
  const scratch = scratchFolder("vps");
  let child: Child | undefined;
  let link = "";
  let stopping: Promise<void> | undefined;
  const end = async () => {
    takeBack();
    await child?.kill();
    if (link) await runCommand("ip", ["link", "del", link]);
    scratch.remove();
    running -= 1;
    if (running > 0) return;
    const left = network;
    network = undefined;
    await left?.then(({ release }) => release());
  };
  const stop = () => (stopping ??= end());
  const takeBack = onExit(stop);
  try {
    const net = await network;
    const place = net.nextPlace();
    const called = name ?? `vps-${randomBytes(3).toString("hex")}`;
    progress(`starting the server ${called} at ${place.address}`);
    child = startChild("unshare", [...namespaces, "--fork", "--kill-child", "sh", initScript], {
      cwd: "/",
      env: {
        BASE: base,
        SPACE: scratch.path,
        NAME: called,
        ADDRESS: place.address,
        GATEWAY: net.gateway,
      },
    });
    await plugIn(child, place.link, net.bridge);
    link = place.link;
    const started = child;
    await waitUntilReady(called, started, () => started.log().includes("vps-ready"), 90_000);
    return await handle(started, {
      name: called,
      address: place.address,
      link,
      bridge: net.bridge,
      stop,
    });
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Makes a link whose other end is `eth0` inside, once the child has left our network namespace. */
async function plugIn(child: Child, link: string, bridge: string): Promise<void> {
  const own = readlinkSync("/proc/self/ns/net");
  await waitUntilReady("the server's network", child, () => {
    try {
      return readlinkSync(`/proc/${child.pid}/ns/net`) !== own;
    } catch {
      return false;
    }
  });
  await ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", String(child.pid));
  await ip("link", "set", link, "master", bridge, "up");
}

async function ip(...args: string[]): Promise<void> {
  const { code, stderr } = await runCommand("ip", args);
  if (code !== 0) throw failureOf("service-down", `ip ${args.join(" ")} failed: ${stderr.trim()}`);
}

type Known = {
  name: string;
  address: string;
  link: string;
  bridge: string;
  stop: () => Promise<void>;
};

async function handle(child: Child, known: Known): Promise<Vps> {
  const { name, address, link, bridge, stop } = known;
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  const [init = ""] = children.trim().split(" ");
  const enter = ["-t", init, "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", "--", "env", "-i"];
  enter.push("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8");
  const exec: Vps["exec"] = (argv, options) => runCommand("nsenter", [...enter, ...argv], options);
  const must = async (argv: string[], input = ""): Promise<string> => {
    const { code, stdout, stderr } = await exec(argv, { input });
    if (code !== 0) throw failureOf("unexpected", `${argv[0]} failed in ${name}: ${stderr.trim()}`);
    return stdout;
  };
  const hostKey = await must(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]);
  return {
    name,
    address,
    sshPort: 22,
    hostKeys: [hostKey.trim().split(" ").slice(0, 2).join(" ")],
    user: "chom",
    exec,
    authorizeKey: async (line) =>
      void (await must(["sh", "-c", "cat >> /home/chom/.ssh/authorized_keys"], `${line.trim()}\n`)),
    setPassword: async (password) => void (await must(["chpasswd"], `chom:${password}\n`)),
    lockPassword: async () => void (await must(["passwd", "-q", "-l", "chom"])),
    // Taken off the bridge the link keeps its carrier: the server sees silence, not an unplugged card.
    cutNetwork: () => ip("link", "set", link, "nomaster"),
    restoreNetwork: () => ip("link", "set", link, "master", bridge),
    service: async (service, verb) => void (await must(["service", service, verb])),
    stop,
  };
}
