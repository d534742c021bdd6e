/** `pnpm demo`: the whole system on one machine, the main job played through it, everything removed at the end. */
import { randomBytes } from "node:crypto";
import { createClients } from "./clients.ts";
import { type DemoArguments, readArguments, usage } from "./demo/arguments.ts";
import { followEvents } from "./demo/event-feed.ts";
import { keepRunning } from "./demo/keep.ts";
import { type Facts, listEvents, readable } from "./demo/report.ts";
import { type StoryServer, tellStory } from "./demo/story.ts";
import { type EmbeddedStack, startEmbeddedStack } from "./embedded-stack.ts";
import { toStderr } from "./progress.ts";
import { serviceNames } from "./service-process.ts";
import { troubles } from "./troubles.ts";
import { startVps, type Vps, vpsSupport } from "./vps.ts";

const tenant = "demo";

async function storyServer(vps: Vps): Promise<StoryServer> {
  const oneTimePassword = randomBytes(12).toString("base64url");
  await vps.setPassword(oneTimePassword);
  const { address, sshPort: port, user, hostKeys } = vps;
  return { address, port, user, hostKeys, oneTimePassword, inside: vps.exec };
}

async function play(stack: EmbeddedStack, vps: Vps, given: DemoArguments): Promise<Facts> {
  const addresses = Object.fromEntries(
    serviceNames.map((name) => [name, stack.services[name].address]),
  ) as Parameters<typeof createClients>[0];
  const clients = createClients(addresses, stack.caPem, await stack.token(tenant));
  const following = clients.follow();
  const feed = followEvents(following.events, following.stop, [
    "SiteProvisioningFailed",
    "CertificateFailed",
    "BackupFailed",
    "RestoreFailed",
    "RestoreRolledBack",
    "KeyRotationFailed",
  ]);
  try {
    const told = await tellStory({
      clients,
      feed,
      server: await storyServer(vps),
      domain: given.domain,
      overlapSeconds: given.overlapSeconds,
      pointDomain: () => stack.pebble.addAddress(given.domain, vps.address),
      issuerRoot: stack.pebble.issuerRoot,
      newId: (what) => `${what}-${randomBytes(6).toString("hex")}`,
      tell: (line) => toStderr(`• ${line}`),
    });
    return {
      ok: told.comparisons.every(({ held }) => held),
      server: { kind: "vps", address: vps.address },
      leavesOut: [],
      ...told,
      events: listEvents(feed.seen),
    };
  } finally {
    feed.stop();
    clients.close();
  }
}

async function main(): Promise<number> {
  const given = readArguments(process.argv.slice(2));
  if (!given) {
    console.log(usage);
    return 0;
  }
  const support = await vpsSupport();
  if (!support.ok) return withoutRoot(given, support.reason);
  const vps = await startVps({ progress: toStderr });
  try {
    const stack = await startEmbeddedStack({ progress: toStderr });
    try {
      const facts = await play(stack, vps, given);
      console.log(given.json ? JSON.stringify(facts, null, 2) : readable(facts));
      if (given.keep) await keepRunning(stack, tenant, { ...vps, port: vps.sshPort });
      return facts.ok ? 0 : 1;
    } catch (error) {
      for (const line of troubles(Object.values(stack.services))) toStderr(line);
      throw error;
    } finally {
      await stack.stop();
    }
  } finally {
    await vps.stop();
  }
}

async function withoutRoot(given: DemoArguments, reason: string): Promise<number> {
  const { playUnprivileged } = await import("./demo/unprivileged.ts");
  toStderr(`no real server here: ${reason}`);
  const facts = await playUnprivileged();
  console.log(given.json ? JSON.stringify(facts, null, 2) : readable(facts));
  return facts.ok ? 0 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  console.error(`demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(error instanceof TypeError && "code" in error ? 2 : 1);
}
