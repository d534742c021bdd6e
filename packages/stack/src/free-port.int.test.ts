import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { freePort, freePorts } from "./free-port.ts";

test("ports are different, can be listened on, and are none that an outgoing connection may get meanwhile", async () => {
  const ports = await freePorts(50);
  expect(new Set([...ports, await freePort()]).size).toBe(51);
  for (const port of ports) {
    expect(port).toBeLessThan(32_768);
    const server = createServer().listen(port, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    expect((server.address() as AddressInfo).port).toBe(port);
  }
});
