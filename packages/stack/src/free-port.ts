/** Free TCP ports on loopback. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the range that Linux takes the ports of outgoing connections from (32768 to 60999), which come and go by the hundred. */
const [lowest, behindHighest] = [15_000, 32_000];
const triesMax = 200;
const given = new Set<number>();

/** Whether nobody listens there now. */
async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    await new Promise((done) => server.close(done));
  }
}

/** A port of 127.0.0.1 that is free, and that this process was not given before. Another process may take it before it is used. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const port = randomInt(lowest, behindHighest);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port between ${lowest} and ${behindHighest}`);
}

/** Several of them, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}
