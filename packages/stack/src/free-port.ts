/** Free TCP ports on loopback. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";

/**
 * Ports of 127.0.0.1 that were free a moment ago, all different. Somebody else may take one before
 * it is used, so a starter tries again when its program says that the address is in use.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  try {
    for (let i = 0; i < count; i += 1) {
      const server = createServer().listen(0, "127.0.0.1");
      servers.push(server);
      await once(server, "listening");
    }
    return servers.map((server) => (server.address() as AddressInfo).port);
  } finally {
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  }
}

/** One free port; see `freePorts`. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port as number;
}
