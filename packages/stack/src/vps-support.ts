/** Whether this machine can have real test servers: asked of the kernel, not guessed. */
import { findProgram } from "./child-process.ts";
import { runCommand } from "./run-command.ts";

export type VpsSupport = { ok: true } | { ok: false; reason: string };

/** Tries every kernel feature in namespaces of its own, so that nothing of it stays. */
const probe = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root || exit 10
command -v ip >/dev/null || exit 0
ip link add chom-probe type bridge || exit 11
ip link add chom-a type veth peer name chom-b || exit 11
`;

let asked: Promise<VpsSupport> | undefined;

/** One plain sentence says why not. Asked once per process, about 20 ms. */
export function vpsSupport(): Promise<VpsSupport> {
  asked ??= ask();
  return asked;
}

async function ask(): Promise<VpsSupport> {
  const no = (reason: string): VpsSupport => ({ ok: false, reason });
  if (process.platform !== "linux") return no("a real test server needs Linux");
  if (process.getuid?.() !== 0)
    return no("a real test server needs root (namespaces and overlayfs)");
  for (const program of ["unshare", "nsenter", "setpriv"]) {
    if (!findProgram(program))
      return no(`a real test server needs ${program} (package util-linux)`);
  }
  const namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork"];
  const { code } = await runCommand("unshare", [...namespaces, "sh", "-c", probe]);
  if (code === 0) return { ok: true };
  if (code === 10)
    return no("a real test server needs overlayfs, which this kernel or container lacks");
  if (code === 11)
    return no("a real test server needs bridge and veth links, which this kernel lacks");
  return no("a real test server needs mount and network namespaces, which are forbidden here");
}
