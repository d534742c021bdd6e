/** A whole stack for one test file, with clients for two tenants and, where there is root, real servers. */
import { randomBytes } from "node:crypto";
import { type Clients, createClients } from "@chom/stack/clients";
import { type EventFeed, followEvents } from "@chom/stack/demo/event-feed";
import {
  type EmbeddedStack,
  type EmbeddedStackOptions,
  startEmbeddedStack,
} from "@chom/stack/embedded-stack";
import { type ServiceName, serviceNames } from "@chom/stack/service-process";
import { startVps, type Vps } from "@chom/stack/vps";

export type World = {
  readonly stack: EmbeddedStack;
  readonly clients: Clients;
  readonly feed: EventFeed;
  /** Starts a server, registers it and installs its key with a one-time password. */
  addServer(): Promise<{ vps: Vps; serverId: string }>;
  /** Clients of another tenant. */
  as(tenant: string): Promise<Clients>;
  stop(): Promise<void>;
};

export const newId = (what: string): string => `${what}-${randomBytes(6).toString("hex")}`;

export const jobTimeoutMs = 180_000;

/** Events that end a wait for success when they name what is waited for. */
const failures = [
  "SiteProvisioningFailed",
  "SiteDeprovisioningFailed",
  "CertificateFailed",
  "BackupFailed",
  "RestoreFailed",
  "RestoreRolledBack",
  "KeyRotationFailed",
];

/** Starts the stack; `stop` ends and removes everything, also after a failed start. */
export async function startWorld(options: EmbeddedStackOptions = {}): Promise<World> {
  const stops: (() => unknown)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const stack = await startEmbeddedStack(options);
    stops.push(stack.stop);
    const addresses = Object.fromEntries(
      serviceNames.map((name) => [name, stack.services[name].address]),
    ) as Record<ServiceName, string>;
    const as = async (tenant: string) => {
      const made = createClients(addresses, stack.caPem, await stack.token(tenant));
      stops.push(made.close);
      return made;
    };
    const clients = await as("acme");
    const following = clients.follow();
    stops.push(following.stop);
    const feed = followEvents(following.events, following.stop, failures);
    const addServer = async () => {
      const vps = await startVps({});
      stops.push(vps.stop);
      return { vps, serverId: await registerServer(clients, vps) };
    };
    return { stack, clients, feed, addServer, as, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Registers a server and installs its key; answers its id. */
async function registerServer(clients: Clients, vps: Vps): Promise<string> {
  const oneTimePassword = randomBytes(12).toString("base64url");
  await vps.setPassword(oneTimePassword);
  const { serverId } = await clients.credentials.registerServer({
    requestId: newId("register"),
    name: "web1",
    address: vps.address,
    port: vps.sshPort,
    user: vps.user,
    hostKeys: [...vps.hostKeys],
  });
  const install = { serverId, oneTimePassword, oneTimePrivateKey: "" };
  // Three log-ins, on a machine that may be busy with other tests.
  await clients.credentials.installKey(install, { deadlineMs: 60_000 });
  return serverId;
}
