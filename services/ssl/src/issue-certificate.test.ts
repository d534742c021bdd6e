import { readFileSync } from "node:fs";
import { failureOf } from "@chom/shared/failure/failure";
import { createDispatch } from "@chom/shared/job/dispatch";
import { crashPoints } from "@chom/shared/testing/crash-points";
import { fakeRun } from "@chom/shared/testing/fake-run";
import { fakeServers } from "@chom/shared/testing/fake-servers";
import { memoryEngine } from "@chom/shared/testing/memory-engine";
import { expect, test } from "vitest";
import type { Authorization, Order } from "./acme/answers.ts";
import type { AcmeClient } from "./acme/client.ts";
import { certificate } from "./certificate.ts";
import { issueCertificate } from "./issue-certificate.ts";
import type { Outside } from "./obtain-certificate.ts";
import { secureSites } from "./reactors.ts";
import { renewCertificate } from "./renew-certificate.ts";
import { renewalJobId } from "./renewal-policy.ts";
import type { SiteFacts } from "./site-facts.ts";

const pem = (name: string): string =>
  readFileSync(new URL(`./acme/fixtures/${name}.pem`, import.meta.url), "utf8");
const now = () => new Date("2026-12-24T00:00:00Z");
const input = { siteId: "site-1", domain: "shop.test", serverId: "server-1" };
const site: SiteFacts = {
  ...input,
  status: "provisioned",
  systemUser: "s-abc",
  addresses: ["10.0.0.7"],
};
const answers = {
  "make-key-and-csr.sh": { csr: pem("single.csr") },
  "put-challenge.sh": undefined,
  "install-certificate.sh": { changed: true },
};
const done = {
  serial: "77",
  names: ["shop.test"],
  issuer: "CN=Fixture Root",
  ariId: expect.stringContaining("."),
};

/** A CA in memory: its orders outlive a crash of the worker, as a real CA's do. */
function memoryCa(chain = pem("single.chain")) {
  const orders = new Map<string, Order["status"]>();
  const calls: string[] = [];
  const token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
  const orderOf = (url: string): Order => ({
    url,
    status: orders.get(url) ?? "invalid",
    names: ["shop.test"],
    authorizationUrls: [`${url}/authz`],
    finalizeUrl: `${url}/finalize`,
    certificateUrl: orders.get(url) === "valid" ? `${url}/cert` : null,
    expires: null,
    error: null,
    retryAfterMs: undefined,
  });
  const authorizationOf = (url: string): Authorization => ({
    url,
    name: "shop.test",
    status: orders.get(url.replace("/authz", "")) === "pending" ? "pending" : "valid",
    http01: { url: url.replace("/authz", "/chall"), token, status: "pending", error: null },
    retryAfterMs: undefined,
  });
  const ca: AcmeClient = {
    directory: async () => ({
      newNonce: "",
      newAccount: "",
      newOrder: "",
      renewalInfo: null,
      caaIdentities: ["ca.test"],
      profiles: [],
    }),
    account: async () => "a",
    async createOrder({ replaces }) {
      const url = `order-${orders.size + 1}`;
      calls.push(`order${replaces ? ` replaces ${replaces}` : ""}`);
      orders.set(url, "pending");
      return orderOf(url);
    },
    orderStatus: async (url) => orderOf(url),
    authorizations: async ({ authorizationUrls }) => authorizationUrls.map(authorizationOf),
    authorization: async (url) => authorizationOf(url),
    keyAuthorization: () => `${token}.thumb`,
    async answerChallenge({ url }) {
      calls.push("answer");
      orders.set(url.replace("/chall", ""), "ready");
      return authorizationOf(url.replace("/chall", "/authz")).http01 ?? expect.unreachable();
    },
    async finalize(order) {
      calls.push("finalize");
      orders.set(order.url, "valid");
      return orderOf(order.url);
    },
    download: async () => chain,
    renewalInfo: async () => null,
    close: () => {},
  };
  return { ca, calls, orders };
}

const outsideOf = (ca: AcmeClient, changes: Partial<Outside> = {}): Outside => ({
  ca,
  dns: { ipv4: async () => ["10.0.0.7"], ipv6: async () => [], caa: async () => [] },
  profile: "",
  siteOf: async () => site,
  certificateOf: async () => certificate.initial(),
  wait: async () => {},
  ...changes,
});

test("a certificate is issued with the key made on the server and installed there", async () => {
  const { ca, calls } = memoryCa();
  const run = fakeRun(answers, { now });
  expect(await issueCertificate(outsideOf(ca)).work(input, run)).toMatchObject(done);
  expect(calls).toEqual(["order", "answer", "finalize"]);
  expect(run.servers.calls.map(({ script }) => script)).toEqual(Object.keys(answers));
});

test("a worker that dies after any step comes to the same end", async () => {
  const { ca } = memoryCa();
  expect(
    await crashPoints(issueCertificate(outsideOf(ca)), { input, answers, now }),
  ).toBeGreaterThanOrEqual(5);
});

test("a run that comes back places no second order", async () => {
  const { ca, calls } = memoryCa();
  const memory = new Map();
  const broken = {
    ...answers,
    "install-certificate.sh": failureOf("cert-deploy-failed", "no nginx"),
  };
  const work = issueCertificate(outsideOf(ca)).work;
  await expect(work(input, fakeRun(broken, { now, memory }))).rejects.toMatchObject({
    code: "cert-deploy-failed",
  });
  expect(await work(input, fakeRun(answers, { now, memory, attempt: 2 }))).toMatchObject(done);
  expect(calls).toEqual(["order", "answer", "finalize"]);
});

test("an order that became invalid is replaced by another, with its own token served", async () => {
  const { ca, calls, orders } = memoryCa();
  const memory = new Map();
  const refuse: AcmeClient = {
    ...ca,
    async answerChallenge() {
      orders.set("order-1", "invalid");
      throw failureOf("acme-unauthorized", "wrong content");
    },
  };
  await expect(
    issueCertificate(outsideOf(refuse)).work(input, fakeRun(answers, { now, memory })),
  ).rejects.toMatchObject({ code: "acme-unauthorized" });
  expect(
    await issueCertificate(outsideOf(ca)).work(input, fakeRun(answers, { now, memory })),
  ).toMatchObject(done);
  expect(calls.filter((call) => call === "order")).toHaveLength(2);
});

test("a name that does not point here is deferred before the CA hears of it", async () => {
  const { ca, calls } = memoryCa();
  const dns = { ipv4: async () => ["192.0.2.1"], ipv6: async () => [], caa: async () => [] };
  const end = await issueCertificate(outsideOf(ca, { dns })).work(input, fakeRun(answers, { now }));
  expect(end).toMatchObject({
    outcome: "deferred",
    code: "dns-not-pointed",
    reason: expect.stringContaining("192.0.2.1"),
  });
  expect(calls).toEqual([]);
});

test("case 74: a chain for other names, or for another key, is never installed", async () => {
  for (const chain of [pem("shop.chain"), pem("shop.other-key.chain")]) {
    const run = fakeRun(answers, { now });
    await expect(
      issueCertificate(outsideOf(memoryCa(chain).ca)).work(input, run),
    ).rejects.toMatchObject({ code: "cert-mismatch", kind: "permanent" });
    expect(run.servers.calls.map(({ script }) => script)).not.toContain("install-certificate.sh");
  }
});

test("a request for other names than the site's is refused before an order", async () => {
  const { ca, calls } = memoryCa();
  const strange = { ...answers, "make-key-and-csr.sh": { csr: pem("other.csr") } };
  await expect(
    issueCertificate(outsideOf(ca)).work(input, fakeRun(strange, { now })),
  ).rejects.toMatchObject({ code: "cert-mismatch" });
  expect(calls).toEqual([]);
});

test("a site that is gone, or that has a good certificate, is skipped", async () => {
  const { ca, calls } = memoryCa();
  const gone = outsideOf(ca, { siteOf: async () => ({ ...site, status: "removed" as const }) });
  expect(await issueCertificate(gone).work(input, fakeRun(answers, { now }))).toMatchObject({
    outcome: "skipped",
  });
  const served = {
    ...certificate.initial(),
    status: "active" as const,
    serial: "1",
    notAfter: new Date("2027-02-01"),
  };
  const good = outsideOf(ca, { certificateOf: async () => served });
  expect(await issueCertificate(good).work(input, fakeRun(answers, { now }))).toMatchObject({
    outcome: "skipped",
  });
  expect(calls).toEqual([]);
});

test("a renewal names what it replaces, waits until it is due, and is done once", async () => {
  const served = {
    ...certificate.initial(),
    status: "active" as const,
    serial: "1",
    ariId: "a.b",
    renewAt: new Date("2027-01-01"),
  };
  const { ca, calls } = memoryCa();
  const { work } = renewCertificate(outsideOf(ca, { certificateOf: async () => served }));
  const asked = { ...input, serial: "1", ariId: "a.b", force: false };
  expect(await work(asked, fakeRun(answers, { now }))).toMatchObject({
    outcome: "skipped",
    reason: expect.stringContaining("2027-01-01"),
  });
  expect(await work({ ...asked, serial: "0" }, fakeRun(answers, { now }))).toMatchObject({
    outcome: "skipped",
  });
  expect(await work({ ...asked, force: true }, fakeRun(answers, { now }))).toMatchObject(done);
  expect(calls[0]).toBe("order replaces a.b");
});

test("a renewal that still waits is ended by the next day's", async () => {
  const served = {
    ...certificate.initial(),
    status: "active" as const,
    serial: "1",
    renewAt: new Date("2026-12-22"),
  };
  const { ca, calls } = memoryCa();
  const { work } = renewCertificate(outsideOf(ca, { certificateOf: async () => served }));
  const asked = { ...input, serial: "1", ariId: "a.b", force: false };
  const renewable = { tenant: "tenant-1", siteId: "site-1", serial: "1" };
  const idOf = (day: number) => renewalJobId(renewable, day);
  expect(await work(asked, fakeRun(answers, { now, id: idOf(1) }))).toMatchObject({
    outcome: "skipped",
  });
  expect(calls).toEqual([]);
  expect(await work(asked, fakeRun(answers, { now, id: idOf(2) }))).toMatchObject(done);
});

/** The job in a whole engine on memory, from December on: its events by name, and how many attempts it took. */
async function inEngine(outside: Outside) {
  const made = issueCertificate(outside);
  const host = memoryEngine([made], { family: "ssl", servers: fakeServers(answers) });
  await host.world.clock.advance(now().getTime() - host.world.clock.now().getTime());
  const dispatch = createDispatch(host.engine);
  await dispatch({ job: made, jobId: "job-1", tenant: "tenant-1", actor: "tester", input });
  const startedAt = host.world.clock.now().getTime();
  await host.runToEnd();
  const entries = await host.world.log.load("EVENTS", "evt.tenant-1.certificate.site-1");
  const facts = entries.map(({ type }) => type.split(".").at(-1));
  const hours = (host.world.clock.now().getTime() - startedAt) / 3_600_000;
  const journal = (await host.journal("job-1")).map(({ name }) => name);
  return { facts, hours, failures: journal.filter((name) => name === "JobAttemptFailed") };
}

test("a name that points here after two hours is issued then; the wait is told once and costs no try", async () => {
  let looks = 0;
  const ipv4 = async () => {
    looks += 1;
    return [looks <= 8 ? "192.0.2.1" : "10.0.0.7"];
  };
  const { ca } = memoryCa();
  const dns = { ipv4, ipv6: async () => [], caa: async () => [] };
  const { facts, hours, failures } = await inEngine(outsideOf(ca, { dns }));
  expect(facts).toEqual(["CertificateRequested", "CertificateIssueDeferred", "CertificateIssued"]);
  expect(failures).toEqual([]);
  expect(hours).toBeGreaterThanOrEqual(2);
  expect(hours).toBeLessThan(3);
});

test("a rate limit is waited out for as long as the CA says, without spending a try", async () => {
  const { ca } = memoryCa();
  let refusals = 0;
  const limited: AcmeClient = {
    ...ca,
    async createOrder(order, signal) {
      refusals += 1;
      if (refusals > 5) return ca.createOrder(order, signal);
      throw failureOf("acme-rate-limited", "too many", { retryAfterMs: 7 * 3_600_000 });
    },
  };
  const { facts, hours, failures } = await inEngine(outsideOf(limited));
  expect(facts).toEqual(["CertificateRequested", "CertificateIssueDeferred", "CertificateIssued"]);
  expect(failures).toEqual([]);
  expect(Math.round(hours)).toBe(35);
});

test("a CA that is down uses up the tries, and the certificate fails visibly", async () => {
  const { ca } = memoryCa();
  const createOrder = async () => {
    throw failureOf("acme-unreachable", "no answer");
  };
  const { facts, failures } = await inEngine(outsideOf({ ...ca, createOrder }));
  expect(facts).toEqual(["CertificateRequested", "CertificateFailed"]);
  expect(failures).toHaveLength(2);
});

test("only sites that want TLS get a certificate, and a removed site drops its", async () => {
  const reactor = secureSites(issueCertificate(outsideOf(memoryCa().ca)));
  const meta = {
    eventId: "e",
    time: now(),
    tenant: "t",
    id: "site-1",
    position: 1,
    actor: "a",
    causationId: "",
    correlationId: "",
  };
  const provisioned = reactor.on["SiteProvisioned"] ?? expect.unreachable();
  expect(await provisioned({ ...input, sslEnabled: true }, meta)).toMatchObject({
    kind: "dispatch",
    input,
  });
  expect(await provisioned({ ...input, sslEnabled: false }, meta)).toEqual([]);
  const removed = reactor.on["SiteDeprovisioned"] ?? expect.unreachable();
  expect(await removed(input, meta)).toMatchObject({
    kind: "command",
    command: "drop",
    tenant: "t",
    id: "site-1",
  });
});
