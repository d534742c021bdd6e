import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { Failure } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import { type Pebble, startPebble } from "@chom/stack/pebble";
import { freePort } from "@chom/stack/free-port";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dnsPointsAt, nameServers } from "../dns-check.ts";
import { inspectChain } from "./chain.ts";
import { type AcmeClient, acmeClient } from "./client.ts";
import { type CertificateRequest, readCsr } from "./csr.ts";
import { obtainChain, waitForAuthorization } from "./issuance.ts";
import { newAccountKey } from "./jws.ts";

const address = "127.0.0.41";
const signal = AbortSignal.timeout(100_000);
const polling = {
  signal,
  wait: async (ms: number) => {
    await pause(ms);
  },
};
const served = new Map<string, string>();
const web = createServer((request, response) => {
  const text = served.get(request.url?.split("/").at(-1) ?? "");
  response.writeHead(text ? 200 : 404).end(text);
});
const scratch = scratchFolder("acme");
const folder = scratch.path;
const accountKey = newAccountKey();
let pebble: Pebble;
let ca: AcmeClient;

beforeAll(async () => {
  const httpPort = await freePort();
  web.listen(httpPort, address);
  await once(web, "listening");
  pebble = await startPebble({
    httpPort,
    nonceRejectPercent: 30,
    blockedDomains: ["blocked.test"],
  });
  ca = acmeClient({ directoryUrl: pebble.directoryUrl, accountKey, trustedRoots: pebble.ca });
  for (const name of ["shop.test", "www.shop.test", "empty.test"])
    await pebble.addAddress(name, address);
  await pebble.addAddress("elsewhere.test", "127.0.0.42");
}, 180_000);
afterAll(async () => {
  ca?.close();
  web.close();
  await pebble?.stop();
  scratch.remove();
});

function makeCsr(names: readonly string[]): CertificateRequest {
  const san = `subjectAltName=${names.map((name) => `DNS:${name}`).join()}`;
  const key = join(folder, `${names.length}.key`);
  const args = [
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    key,
  ];
  return readCsr(
    execFileSync("openssl", [...args, "-subj", "/", "-addext", san], {
      stdio: ["ignore", "pipe", "ignore"],
    }).toString(),
  );
}

async function issue(names: readonly string[], more: { profile?: string; replaces?: string } = {}) {
  const csr = makeCsr(names);
  const order = await ca.createOrder({ names, profile: "default", ...more }, signal);
  for (const { url, http01 } of await ca.authorizations(order, signal)) {
    if (!http01) return expect.unreachable();
    served.set(http01.token, ca.keyAuthorization(http01));
    await ca.answerChallenge(http01, signal);
    await waitForAuthorization(ca, url, polling);
  }
  const chain = await obtainChain(ca, order.url, csr.der, polling);
  return {
    chain,
    facts: inspectChain(chain, { names, publicKey: csr.publicKey, now: new Date() }),
    order,
  };
}
const failureOf = async (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => expect.unreachable("it should have failed"),
    (error: Failure) => error,
  );

test("a real CA issues for two names, and the certificate says so itself", async () => {
  const { chain, facts } = await issue(["shop.test", "www.shop.test"]);
  expect([...facts.names].toSorted()).toEqual(["shop.test", "www.shop.test"]);
  expect(facts.notAfter.getTime() - facts.notBefore.getTime()).toBeGreaterThan(89 * 86_400_000);
  expect(new X509Certificate(chain).serialNumber.toLowerCase()).toBe(facts.serial);
});

test("the profile decides the lifetime", async () => {
  const { facts } = await issue(["shop.test"], { profile: "shortlived" });
  expect(facts.notAfter.getTime() - facts.notBefore.getTime()).toBeLessThan(7 * 86_400_000);
  expect(
    await failureOf(ca.createOrder({ names: ["shop.test"], profile: "nope" }, signal)),
  ).toMatchObject({ code: "acme-malformed", kind: "permanent" });
});

test("the CA knows the ARI id; a certificate is replaced once, and a second time all the same", async () => {
  const { facts } = await issue(["shop.test"]);
  const info = await ca.renewalInfo(facts.ariId, signal);
  expect(info?.window.start.getTime()).toBeLessThan(info?.window.end.getTime() ?? 0);
  expect(info?.window.end.getTime()).toBeLessThanOrEqual(facts.notAfter.getTime());
  await issue(["shop.test"], { replaces: facts.ariId });
  await issue(["shop.test"], { replaces: facts.ariId });
});

test("an order is found again by its URL, by another client with the same key only", async () => {
  const { order } = await issue(["shop.test"]);
  const again = acmeClient({
    directoryUrl: pebble.directoryUrl,
    accountKey,
    trustedRoots: pebble.ca,
  });
  expect(await again.orderStatus(order.url, signal)).toMatchObject({ status: "valid" });
  expect(await again.account(signal)).toBe(await ca.account(signal));
  again.close();
});

test("what the CA sees at the name decides: another text, nobody there, no address", async () => {
  const validate = async (name: string, content?: string) => {
    const order = await ca.createOrder({ names: [name], profile: "default" }, signal);
    const [found] = await ca.authorizations(order, signal);
    if (!found?.http01) return expect.unreachable();
    if (content !== undefined) served.set(found.http01.token, content);
    await ca.answerChallenge(found.http01, signal);
    return failureOf(waitForAuthorization(ca, found.url, polling));
  };
  expect(await validate("empty.test", "something else")).toMatchObject({
    code: "acme-unauthorized",
  });
  expect(await validate("elsewhere.test")).toMatchObject({ code: "acme-connection" });
  expect(["acme-dns", "acme-connection"]).toContain((await validate("nowhere.test")).code);
});

test("a name the CA refuses is refused for good", async () => {
  expect(
    await failureOf(ca.createOrder({ names: ["blocked.test"], profile: "default" }, signal)),
  ).toMatchObject({ code: "acme-rejected-identifier", kind: "permanent" });
});

test("a CA whose certificate nobody vouches for is not talked to", async () => {
  const stranger = acmeClient({
    directoryUrl: pebble.directoryUrl,
    accountKey: new Secret(newAccountKey().reveal()),
  });
  expect(await failureOf(stranger.directory(signal))).toMatchObject({ code: "acme-unreachable" });
  stranger.close();
});

test("real DNS answers tell where a name points, and a dead name server is told apart", async () => {
  const dns = nameServers([pebble.dnsAddress]);
  const ask = (domain: string, addresses = [address]) =>
    dnsPointsAt({ domain, addresses, caaIdentities: ["pebble.test"] }, dns);
  expect(await ask("shop.test")).toEqual({ ok: true });
  expect(await ask("elsewhere.test")).toMatchObject({ code: "dns-not-pointed" });
  expect(await ask("nowhere.test")).toMatchObject({ code: "dns-not-pointed" });
  await pebble.addAddress("six.test", address);
  await pebble.addAddress("six.test", "2001:db8::9");
  expect(await ask("six.test")).toMatchObject({ code: "aaaa-wrong" });
  const dead = nameServers([`127.0.0.1:${await freePort()}`]);
  expect(
    await dnsPointsAt({ domain: "shop.test", addresses: [address], caaIdentities: [] }, dead),
  ).toMatchObject({ code: "dns-unavailable" });
});
