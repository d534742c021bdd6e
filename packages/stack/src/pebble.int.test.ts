import { X509Certificate } from "node:crypto";
import { Resolver } from "node:dns/promises";
import { get } from "node:https";
import { expect, onTestFinished, test } from "vitest";
import { startPebble } from "./pebble.ts";
import { toStderr } from "./progress.ts";

function fetchJson(url: string, ca?: string): Promise<Record<string, unknown>> {
  return new Promise((done, refuse) => {
    const headers = { "user-agent": "test" };
    const options = { headers, agent: false, ...(ca === undefined ? {} : { ca }) };
    get(url, options, (answer) => {
      let text = "";
      answer.on("data", (part) => {
        text += part;
      });
      answer.on("end", () => done(JSON.parse(text)));
    }).on("error", refuse);
  });
}

test("the directory is reached with the CA only, and names both profiles", async () => {
  const pebble = await startPebble({ progress: toStderr });
  onTestFinished(() => pebble.stop());
  const directory = await fetchJson(pebble.directoryUrl, pebble.ca);
  expect(directory["renewalInfo"]).toMatch(/^https:/);
  const meta = directory["meta"] as { profiles: object };
  expect(Object.keys(meta.profiles).sort()).toEqual(["default", "shortlived"]);
  await expect(fetchJson(pebble.directoryUrl)).rejects.toThrow(/certificate/);
  expect(new X509Certificate(await pebble.issuerRoot()).ca).toBe(true);
});

test("names resolve to what they were given until it is removed", async () => {
  const pebble = await startPebble();
  onTestFinished(() => pebble.stop());
  const resolver = new Resolver();
  resolver.setServers([pebble.dnsAddress]);
  await expect(resolver.resolve4("shop.test")).rejects.toThrow();
  await pebble.addAddress("shop.test", "10.1.2.3");
  await pebble.addAddress("shop.test", "fd00::1");
  expect(await resolver.resolve4("shop.test")).toEqual(["10.1.2.3"]);
  expect(await resolver.resolve6("shop.test")).toEqual(["fd00::1"]);
  await pebble.removeAddress("shop.test");
  await expect(resolver.resolve4("shop.test")).rejects.toThrow();
});

test("a stopped CA is gone, and stops twice", async () => {
  const pebble = await startPebble();
  await pebble.stop();
  await pebble.stop();
  await expect(fetchJson(pebble.directoryUrl, pebble.ca)).rejects.toThrow(/ECONNREFUSED/);
});
