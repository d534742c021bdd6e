/** The private network of this process's test servers: one bridge, one 10.213.x.0/24, no way out. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { failureOf } from "@chom/shared/failure/failure";
import { ensureHostProgram } from "./apt.ts";
import { atLast } from "./on-exit.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { spawnSync } from "node:child_process";

const bridgeShape = /^chom-br(\d+)$/;

export type VpsNetwork = {
  bridge: string;
  gateway: string;
  /** Gives the next address (10.213.x.10 and up) and the name of the host's end of its link. */
  nextPlace: () => { address: string; link: string };
  /** Removes the bridge and frees the number. Idempotent. */
  release: () => Promise<void>;
};

/**
 * Claims a number that no other process holds and makes its bridge. The claim is a socket name that the kernel
 * drops with the process, so a bridge whose number can be claimed is a leftover, and is replaced.
 */
export async function claimNetwork(progress: Progress): Promise<VpsNetwork> {
  await ensureHostProgram("ip", "iproute2", progress);
  await sweepStaleVps();
  const start = process.pid % 250;
  for (let i = 0; i < 250; i += 1) {
    const number = ((start + i) % 250) + 1;
    const claimed = await claim(number);
    if (!claimed) continue;
    if (!isForeign(number)) return open(number, claimed);
    claimed.close();
  }
  throw failureOf("port-conflict", "no free network 10.213.x.0/24 is left for test servers");
}

/** Removes bridges (and with them nothing else) whose process is gone. Returns how many. */
export async function sweepStaleVps(): Promise<number> {
  let removed = 0;
  for (const bridge of await bridges()) {
    const number = Number(bridgeShape.exec(bridge)?.[1]);
    const claimed = await claim(number);
    if (!claimed) continue;
    await runCommand("ip", ["link", "del", bridge]);
    claimed.close();
    removed += 1;
  }
  return removed;
}

async function bridges(): Promise<string[]> {
  const { stdout } = await runCommand("ip", ["-o", "link", "show", "type", "bridge"]);
  const names = stdout.split("\n").map((line) => line.split(":")[1]?.trim() ?? "");
  return names.filter((name) => bridgeShape.test(name));
}

async function claim(number: number): Promise<Server | null> {
  const server = createServer().listen(`\0chom-vps-network-${number}`);
  try {
    await once(server, "listening");
    server.unref();
    return server;
  } catch {
    return null;
  }
}

/** Someone else's interface lives in this range: keep away. */
function isForeign(number: number): boolean {
  const ours = Object.values(networkInterfaces()).flat();
  return ours.some((face) => face?.address.startsWith(`10.213.${number}.`));
}

async function open(number: number, claimed: Server): Promise<VpsNetwork> {
  const bridge = `chom-br${number}`;
  const gateway = `10.213.${number}.1`;
  for (const args of [
    ["link", "add", bridge, "type", "bridge"],
    ["addr", "add", `${gateway}/24`, "dev", bridge],
    ["link", "set", bridge, "up"],
  ]) {
    const { code, stderr } = await runCommand("ip", args);
    if (code !== 0)
      throw failureOf("service-down", `ip ${args.join(" ")} failed: ${stderr.trim()}`);
  }
  const forget = atLast(() => void spawnSync("ip", ["link", "del", bridge]));
  let next = 10;
  return {
    bridge,
    gateway,
    nextPlace: () => {
      if (next > 254)
        throw failureOf("port-conflict", "a process can start 245 test servers at most");
      const place = { address: `10.213.${number}.${next}`, link: `ch${number}-${next}` };
      next += 1;
      return place;
    },
    release: async () => {
      forget();
      await runCommand("ip", ["link", "del", bridge]);
      claimed.close();
    },
  };
}
