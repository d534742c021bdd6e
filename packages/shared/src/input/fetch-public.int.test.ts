/** Against real servers on this machine's own addresses: each stands for a host that may, or may not, be reached. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { fetchPublic } from "./fetch-public.ts";
import { networksOf } from "./networks.ts";
import type { Resolver } from "./resolve.ts";

/** 127.0.0.2 stands for the internet, 127.0.0.1 for what is inside. */
const networks = networksOf(["127.0.0.2/32"]);
const refused = { code: "address-not-allowed" };

/** A server on every address of this machine; `reached` has the addresses at which it was asked. */
async function server(locations: readonly string[] = []) {
  const reached: string[] = [];
  const left = [...locations];
  const listening = createServer((request, response) => {
    reached.push(request.socket.localAddress ?? "");
    const location = left.shift();
    if (location) response.writeHead(302, { location }).end();
    else response.end("content");
  });
  await new Promise<void>((resolve) => listening.listen(0, "0.0.0.0", resolve));
  onTestFinished(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return { reached, left, port: (listening.address() as AddressInfo).port };
}

/** Says something else each time that it is asked. */
function flipping(...addresses: string[]) {
  let asked = 0;
  const resolver: Resolver = async () => {
    asked += 1;
    return [{ address: addresses[asked - 1] ?? "127.0.0.1", family: 4 }];
  };
  return { resolver, asked: () => asked };
}

const get = async (location: string, resolver?: Resolver) => {
  const signal = AbortSignal.timeout(30_000);
  const fetching = { networks, signal, ...(resolver ? { resolver } : {}) };
  return text(await fetchPublic(location, fetching));
};

test("case 26: a name that changes between check and connect is connected to where it was checked", async () => {
  const { reached, port } = await server();
  const { resolver, asked } = flipping("127.0.0.2", "127.0.0.1");
  expect(await get(`http://flips.example:${port}/`, resolver)).toBe("content");
  expect({ reached, asked: asked() }).toEqual({ reached: ["127.0.0.2"], asked: 1 });
  await expect(get(`http://flips.example:${port}/`, resolver)).rejects.toMatchObject(refused);
  expect(reached).toHaveLength(1);
});

test("case 27: each redirect is checked anew, by number and by name", async () => {
  const { reached, left, port } = await server();
  const start = `http://127.0.0.2:${port}/`;
  left.push(`http://127.0.0.2:${port}/next`, "/last");
  expect(await get(start)).toBe("content");
  const inside = [
    ...[
      "http://127.0.0.1",
      "http://[::1]",
      "http://0x7f000001",
      "http://2130706433",
      "http://127.1",
    ],
    ...["http://localhost", "http://user@127.0.0.2", "http://inside.example"],
  ];
  for (const host of inside) {
    left.push(`${host}:${port}/`);
    const { resolver } = flipping("127.0.0.1");
    await expect(get(start, resolver), host).rejects.toMatchObject(refused);
  }
  for (const location of ["file:///etc/passwd", "ftp://127.0.0.2/", "gopher://127.0.0.2/"]) {
    left.push(location);
    await expect(get(start), location).rejects.toMatchObject(refused);
  }
  expect(new Set(reached)).toEqual(new Set(["127.0.0.2"]));
});

test("case 27: redirects without an end are given up", async () => {
  const { left, port } = await server();
  for (let turns = 0; turns < 20; turns += 1) left.push("/again");
  await expect(get(`http://127.0.0.2:${port}/`)).rejects.toMatchObject({
    code: "repo-unavailable",
  });
});
