/** The Debian that every test VPS starts from: made once, kept in the cache, never written to. */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { ensureHostProgram } from "./apt.ts";
import { cacheFolder, ensureCached } from "./cache.ts";
import { debianMirror } from "./debian-package.ts";
import type { Progress } from "./progress.ts";
import { type CommandResult, runCommand } from "./run-command.ts";

const packages = [
  ...["openssh-server", "sudo", "nginx-light", "mariadb-server", "mariadb-client", "cron"],
  ...["php-fpm", "php-cli", "php-mysql", "php-sqlite3", "php-xml", "php-mbstring", "php-curl"],
  ...["openssl", "curl", "ca-certificates", "zstd", "iproute2", "procps", "busybox", "util-linux"],
];
const buildTimeoutMs = 900_000;
const fallbackMirror = "http://deb.debian.org/debian";

/** What is changed after the packages are in. Part of the cache's key: editing it makes a new base. */
const finish = `set -eu
rm -f etc/nginx/sites-enabled/default etc/ssh/ssh_host_*
cat > etc/ssh/sshd_config.d/chom.conf <<'X'
HostKey /etc/ssh/ssh_host_ed25519_key
ExposeAuthInfo yes
LogLevel VERBOSE
UseDNS no
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
MaxSessions 100
Match User chom
  PasswordAuthentication yes
X
echo 'SSHD_OPTS="-E /var/log/auth.log"' > etc/default/ssh
cat > etc/mysql/mariadb.conf.d/90-small.cnf <<'X'
[mariadbd]
skip-networking
innodb_buffer_pool_size = 32M
innodb_log_file_size = 8M
innodb_use_native_aio = 0
X
useradd=usr/sbin/useradd
chroot . /$useradd --create-home --shell /bin/bash chom
echo 'chom ALL=(ALL) NOPASSWD: ALL' > etc/sudoers.d/chom
chmod 440 etc/sudoers.d/chom
install -d -m 700 home/chom/.ssh
: > home/chom/.ssh/authorized_keys
chmod 600 home/chom/.ssh/authorized_keys
chroot . /bin/chown -R chom: /home/chom/.ssh
`;

/** The suite of this machine when it is Debian, else bookworm. */
function suite(): string {
  try {
    const release = readFileSync("/etc/os-release", "utf8");
    const name = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
    return /^ID=debian$/m.test(release) && name ? name : "bookworm";
  } catch {
    return "bookworm";
  }
}

/**
 * The base's root folder; makes it when the cache has none (needs root, a Debian mirror and about a minute,
 * 0.7 GB). A second process waits for the first. Fails with `tool-missing`.
 */
export async function ensureVpsBase(progress: Progress): Promise<string> {
  const key = createHash("sha256")
    .update([suite(), ...packages, finish].join("\n"))
    .digest("hex");
  const name = `vps-${suite()}-${key.slice(0, 12)}`;
  if (!existsSync(join(cacheFolder(), name))) {
    await ensureCached(name, (folder) => build(join(folder, "root"), folder, progress), progress);
  }
  return join(cacheFolder(), name, "root");
}

async function build(root: string, folder: string, progress: Progress): Promise<void> {
  const mirror = (await debianMirror()) ?? fallbackMirror;
  progress(`making the base of test servers: Debian ${suite()}, once, about a minute`);
  const startedAt = performance.now();
  const made = await bootstrap(root, mirror, progress);
  if (made.code !== 0) {
    const said = made.stderr.trim().split("\n").slice(-3).join(" ");
    throw failureOf("tool-missing", `no base for test servers could be made: ${said}`);
  }
  const script = join(folder, "finish.sh");
  writeFileSync(script, finish);
  const finished = await runCommand("sh", [script], { cwd: root });
  if (finished.code !== 0) {
    throw failureOf("tool-missing", `the base could not be set up: ${finished.stderr.trim()}`);
  }
  rmSync(script);
  rmSync(join(root, "var/cache/apt"), { recursive: true, force: true });
  // The folder above is private to its user, but services inside run as others.
  for (const path of [folder, root]) chmodSync(path, 0o755);
  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  progress(`the base of test servers is ready after ${seconds} s`);
}

async function bootstrap(root: string, mirror: string, progress: Progress): Promise<CommandResult> {
  const include = `--include=${packages.join(",")}`;
  try {
    const tool = await ensureHostProgram("mmdebstrap", "mmdebstrap", progress);
    const trimmed = [
      "--dpkgopt=path-exclude=/usr/share/man/*",
      "--dpkgopt=path-exclude=/usr/share/doc/*",
    ];
    const args = ["--mode=root", "--variant=minbase", ...trimmed, include, suite(), root, mirror];
    const made = await contained([tool, ...args], progress);
    if (made.code === 0) return made;
    progress(`mmdebstrap failed, trying debootstrap: ${made.stderr.trim().split("\n").at(-1)}`);
  } catch (error) {
    progress(`${error instanceof Error ? error.message : error}; trying debootstrap`);
  }
  rmSync(root, { recursive: true, force: true });
  const tool = await ensureHostProgram("debootstrap", "debootstrap", progress);
  return contained([tool, "--variant=minbase", include, suite(), root, mirror], progress);
}

/** Own mount and process namespaces: whatever it mounts or starts goes with it, also when we are killed. */
function contained(command: string[], progress: Progress): Promise<CommandResult> {
  const around = ["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork"];
  let told = 0;
  return runCommand("setpriv", [...around, "--kill-child", "--mount-proc", ...command], {
    timeoutMs: buildTimeoutMs,
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" },
    onLine: (line) => {
      if (!line.startsWith("I: ") || performance.now() - told < 1_000) return;
      told = performance.now();
      progress(`  ${line.slice(3)}`);
    },
  });
}
