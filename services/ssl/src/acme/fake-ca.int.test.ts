import { readFileSync } from "node:fs";
import type { Failure } from "@chom/shared/failure/failure";
import { expect, onTestFinished, test } from "vitest";
import { type AcmeClient, acmeClient } from "./client.ts";
import { readCsr } from "./csr.ts";
import { obtainChain, type Polling, waitForAuthorization } from "./issuance.ts";
import { newAccountKey } from "./jws.ts";
import { type FakeCa, fakeCa, problem } from "./testing/fake-ca.ts";

const pem = (name: string): string =>
  readFileSync(new URL(`./fixtures/${name}.pem`, import.meta.url), "utf8");
const chain = pem("shop.chain");
const csr = readCsr(pem("shop.csr"));
const names = ["shop.test"];
const signal = AbortSignal.timeout(20_000);

async function setup(): Promise<{
  ca: FakeCa;
  client: AcmeClient;
  waits: number[];
  polling: Polling;
}> {
  const ca = await fakeCa(chain);
  const client = acmeClient({
    directoryUrl: ca.directoryUrl,
    accountKey: newAccountKey(),
    timeoutMs: 2_000,
  });
  onTestFinished(async () => {
    client.close();
    await ca.close();
  });
  const waits: number[] = [];
  const polling = { signal, wait: async (ms: number) => void waits.push(ms) };
  return { ca, client, waits, polling };
}

async function issue(client: AcmeClient, polling: Polling): Promise<string> {
  const order = await client.createOrder({ names }, signal);
  for (const { url, http01 } of await client.authorizations(order, signal)) {
    if (http01) await client.answerChallenge(http01, signal);
    await waitForAuthorization(client, url, polling);
  }
  return obtainChain(client, order.url, csr.der, polling);
}
const failureOf = async (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => expect.unreachable("it should have failed"),
    (error: Failure) => error,
  );

test("a chain is issued without a single pause when nothing is slow", async () => {
  const { client, waits, polling } = await setup();
  expect(await issue(client, polling)).toBe(chain);
  expect(waits).toEqual([]);
});

test("a hundred chains are issued although nine in ten nonces are refused, and none is sent twice", async () => {
  const { ca, client, polling } = await setup();
  let seed = 7;
  ca.refuseNonce = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % 10 !== 0;
  };
  for (let i = 0; i < 100; i += 1) expect(await issue(client, polling)).toBe(chain);
  expect(ca.replays).toBe(0);
});

test("a CA that refuses every nonce is acme-bad-nonce in the end", async () => {
  const { ca, client } = await setup();
  ca.refuseNonce = () => true;
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-bad-nonce",
  });
  expect(ca.calls.length).toBeLessThan(200);
});

test("a rate limit is told at once with its time, and nothing sleeps or repeats", async () => {
  const { ca, client } = await setup();
  ca.override = ({ path }) =>
    path === "/new-order"
      ? problem(429, "rateLimited", "too many\u0007", { "retry-after": "7200" })
      : undefined;
  const startedAt = Date.now();
  const failure = await failureOf(client.createOrder({ names }, signal));
  expect(failure).toMatchObject({ code: "acme-rate-limited", retryAfterMs: 7_200_000 });
  expect(failure.message).toBe("the CA says rateLimited: too many\\u{7}");
  expect(Date.now() - startedAt).toBeLessThan(1_500);
  expect(ca.calls.filter((path) => path === "/new-order")).toHaveLength(1);
});

test("case 27: a 503 keeps its Retry-After, a redirect is not followed, and nobody there is acme-unreachable", async () => {
  const { ca, client } = await setup();
  ca.override = ({ path }) =>
    path === "/new-order"
      ? { status: 503, body: "busy", headers: { "retry-after": "30" } }
      : undefined;
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-server",
    retryAfterMs: 30_000,
  });
  ca.override = () => ({ status: 302, headers: { location: "http://127.0.0.1:1/steal" } });
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-server",
  });
  await ca.close();
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-unreachable",
  });
});

test("a CA that says nothing is unreachable after the timeout, and an abort is an abort", async () => {
  const { ca } = await setup();
  const { createServer } = await import("node:net");
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await new Promise((done) => silent.once("listening", done));
  const { port } = silent.address() as { port: number };
  const client = acmeClient({
    directoryUrl: `http://127.0.0.1:${port}/dir`,
    accountKey: newAccountKey(),
    timeoutMs: 200,
  });
  onTestFinished(client.close);
  expect(await failureOf(client.directory(signal))).toMatchObject({
    code: "acme-unreachable",
    message: expect.stringContaining("200 ms"),
  });
  const controller = new AbortController();
  const asked = failureOf(client.directory(controller.signal));
  controller.abort(new Error("cancelled by us"));
  expect((await asked).message).toBe("cancelled by us");
  expect(ca.calls).toEqual([]);
});

test("an answer lost after finalizing costs no second order: the chain is fetched by the order's URL", async () => {
  const { ca, client, polling } = await setup();
  ca.override = ({ path, count }) => (path === "/finalize" && count === 1 ? "drop" : undefined);
  const order = await client.createOrder({ names }, signal);
  const [authorization] = await client.authorizations(order, signal);
  if (authorization?.http01) await client.answerChallenge(authorization.http01, signal);
  expect(await failureOf(obtainChain(client, order.url, csr.der, polling))).toMatchObject({
    code: "acme-unreachable",
  });
  expect(await obtainChain(client, order.url, csr.der, polling)).toBe(chain);
  expect(ca.calls.filter((path) => path === "/new-order")).toHaveLength(1);
});

test("an order that stays in processing is left for later, with bounded pauses", async () => {
  const { ca, client, waits, polling } = await setup();
  const order = await client.createOrder({ names }, signal);
  const body = {
    status: "processing",
    identifiers: [{ type: "dns", value: "shop.test" }],
    authorizations: [],
    finalize: `${ca.origin}/finalize`,
  };
  ca.override = ({ path }) => (path.startsWith("/order/") ? { status: 200, body } : undefined);
  expect(await failureOf(obtainChain(client, order.url, csr.der, polling))).toMatchObject({
    code: "acme-server",
  });
  expect(Math.max(...waits)).toBeLessThanOrEqual(5_000);
  expect(waits.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(60_000);
});

test("case 27, 73: a CA that leads elsewhere is refused before anything is sent there", async () => {
  const { ca, client } = await setup();
  ca.override = ({ path }) =>
    path === "/new-order"
      ? {
          status: 201,
          headers: { location: `${ca.origin}/order/1` },
          body: {
            status: "pending",
            identifiers: [{ type: "dns", value: "shop.test" }],
            authorizations: ["http://169.254.169.254/latest/meta-data"],
            finalize: `${ca.origin}/finalize`,
          },
        }
      : undefined;
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-malformed",
  });
  expect(await failureOf(client.orderStatus("http://127.0.0.1:1/order/1", signal))).toMatchObject({
    code: "acme-malformed",
  });
});

test("an account the CA forgot is made again, one it closed needs an operator", async () => {
  const { ca, client } = await setup();
  ca.override = ({ path, count }) =>
    path === "/new-order" && count === 1 ? problem(400, "accountDoesNotExist") : undefined;
  expect(await client.createOrder({ names }, signal)).toMatchObject({ status: "pending" });
  expect(ca.calls.filter((path) => path === "/new-account")).toHaveLength(2);
  ca.override = ({ path }) =>
    path === "/new-order" ? problem(403, "unauthorized", "account is deactivated") : undefined;
  expect(await failureOf(client.createOrder({ names }, signal))).toMatchObject({
    code: "acme-account",
    kind: "operator",
  });
});

test("an order that replaces a certificate twice is placed without saying so", async () => {
  const { ca, client } = await setup();
  const payloads: unknown[] = [];
  ca.override = ({ path, payload }) => {
    if (path !== "/new-order") return undefined;
    payloads.push(payload);
    return (payload as { replaces?: string }).replaces
      ? problem(409, "alreadyReplaced")
      : undefined;
  };
  expect(
    await client.createOrder({ names, replaces: "a.b", profile: "shortlived" }, signal),
  ).toMatchObject({ names });
  expect(payloads).toMatchObject([{ replaces: "a.b" }, { profile: "shortlived" }]);
  expect(payloads[1]).not.toHaveProperty("replaces");
});

test("an answer that never ends is cut off", async () => {
  const { ca, client } = await setup();
  ca.override = () => ({ status: 200, body: "x".repeat(2_000_000) });
  const failure = await failureOf(client.createOrder({ names }, signal));
  expect(failure.message).toContain("longer than");
});
