/** The demo where there is no root: what can be shown over an honest SSH host that is no real server. */
import { randomBytes } from "node:crypto";
import { classify } from "@chom/shared/failure/failure";
import { createClients } from "../clients.ts";
import { startEmbeddedStack } from "../embedded-stack.ts";
import { toStderr } from "../progress.ts";
import { type ServiceName, serviceNames } from "../service-process.ts";
import { type SshHost, startSshHost } from "../ssh-host.ts";
import { newSshKeyPair } from "../ssh-keys.ts";
import { followEvents } from "./event-feed.ts";
import { type Comparison, type Duration, type Facts, listEvents } from "./report.ts";

const left = [
  "sites, certificates, backups and restores, and the rotation of keys need a server with root:",
  "run the demo as root on Debian or Ubuntu, or register a server of your own (see the README)",
];

type Clients = ReturnType<typeof createClients>;

/** What a call ends with: `ok`, or the code of its Failure. */
const endOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => classify(error).code,
  );

const registrationOf = (host: SshHost, requestId: string, hostKeys: readonly string[]) => ({
  requestId,
  name: "stand-in",
  address: host.address,
  port: host.sshPort,
  user: host.user,
  hostKeys: [...hostKeys],
});

const oneTime = { oneTimePassword: "", oneTimePrivateKey: "" };

async function play(clients: Clients, host: SshHost) {
  const comparisons: Comparison[] = [];
  const durations: Duration[] = [];
  const compare = (what: string, wanted: string, found: string) => {
    comparisons.push({ what, held: wanted === found, detail: found });
    toStderr(`${wanted === found ? "held" : "FAILED"}: ${what} (${found})`);
  };
  const timed = async <T>(what: string, act: () => Promise<T>): Promise<T> => {
    toStderr(`• ${what}`);
    const startedAt = performance.now();
    const result = await act();
    durations.push({ what, durationMs: Math.round(performance.now() - startedAt) });
    return result;
  };

  const request = registrationOf(host, `register-${randomBytes(6).toString("hex")}`, host.hostKeys);
  const made = await timed("register the server", () =>
    clients.credentials.registerServer(request),
  );
  const again = await clients.credentials.registerServer(request);
  compare("the same request twice is one server", made.serverId, again.serverId);

  const { serverId, authorizedKey } = made;
  const refused = await endOf(clients.credentials.installKey({ serverId, ...oneTime }));
  compare("a key that is not installed is refused", "ssh-auth-failed", refused);

  await host.authorizeKey(authorizedKey);
  const loggedIn = await timed("log in through the signer, with the system's key alone", () =>
    endOf(clients.credentials.installKey({ serverId, ...oneTime })),
  );
  compare("the log-in works, and the missing root is named", "sudo-denied", loggedIn);

  const impostor = newSshKeyPair().public.split(" ").slice(0, 2).join(" ");
  const pinned = await clients.credentials.registerServer(
    registrationOf(host, `impostor-${randomBytes(6).toString("hex")}`, [impostor]),
  );
  const mismatch = await endOf(
    clients.credentials.installKey({ serverId: pinned.serverId, ...oneTime }),
  );
  compare("another host key than the pinned one is refused", "ssh-host-key-mismatch", mismatch);
  return { ids: { serverId }, comparisons, durations };
}

/** Plays it on a stack of its own; nothing is left. */
export async function playUnprivileged(): Promise<Facts> {
  const host = await startSshHost();
  try {
    const stack = await startEmbeddedStack({ progress: toStderr });
    try {
      const addresses = Object.fromEntries(
        serviceNames.map((name) => [name, stack.services[name].address]),
      ) as Record<ServiceName, string>;
      const clients = createClients(addresses, stack.caPem, await stack.token("demo"));
      const following = clients.follow();
      const feed = followEvents(following.events, following.stop, []);
      const told = await play(clients, host);
      await feed.until("HostKeyMismatched", 10_000);
      feed.stop();
      clients.close();
      return {
        ok: told.comparisons.every(({ held }) => held),
        server: { kind: "ssh-host", address: `${host.address}:${host.sshPort}` },
        leavesOut: [...host.leavesOut, ...left],
        ...told,
        events: listEvents(feed.seen),
      };
    } finally {
      await stack.stop();
    }
  } finally {
    await host.stop();
  }
}
