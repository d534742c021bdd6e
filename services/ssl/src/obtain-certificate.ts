/** The steps that issuing and renewing share: from a name that points here to a certificate seen on the wire. */
import { setTimeout as pause } from "node:timers/promises";
import { policyOf } from "@chom/shared/failure/codes";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import type { Deferred } from "@chom/shared/job/outcome";
import type { Run } from "@chom/shared/job/run";
import { inspectChain } from "./acme/chain.ts";
import type { AcmeClient } from "./acme/client.ts";
import { isSameNames, readCsr } from "./acme/csr.ts";
import { obtainChain, type Polling, waitForAuthorization } from "./acme/issuance.ts";
import type { certificate, InstalledCertificate } from "./certificate.ts";
import { dnsPointsAt, type NameServers } from "./dns-check.ts";
import { nextLookMs, planRenewal, spreadOf } from "./renewal-policy.ts";
import { installCertificate, makeKeyAndCsr, putChallenge } from "./scripts.ts";
import type { SiteFacts } from "./site-facts.ts";

export type Outside = {
  readonly ca: AcmeClient;
  readonly dns: NameServers;
  /** Facts of a site as of now. */
  readonly siteOf: (tenant: string, siteId: string) => Promise<SiteFacts>;
  /** Facts of a site's certificate as of now. */
  readonly certificateOf: (
    tenant: string,
    siteId: string,
  ) => Promise<ReturnType<typeof certificate.initial>>;
  /** Profile of the CA; "" for its default. */
  readonly profile: string;
  /** For tests; default a timer. */
  readonly wait?: Polling["wait"];
};

/** What is to be obtained. */
type Wanted = {
  readonly site: SiteFacts;
  /** ARI id of the certificate before; "" when there is none. */
  readonly replaces: string;
  /** Since when it is wanted: the longer it waits for DNS, the rarer DNS is asked. */
  readonly waitingSince: Date;
};

type CertificateRun = Run<typeof certificate>;

const byTimer: Polling["wait"] = async (ms, signal) => {
  await pause(ms, undefined, { signal });
};

/** What to wait for before the CA is asked at all; undefined when nothing. */
async function notReady(
  { ca, dns }: Outside,
  { site, waitingSince }: Wanted,
  run: CertificateRun,
): Promise<Deferred | undefined> {
  const { caaIdentities } = await ca.directory(run.signal);
  const { domain, addresses } = site;
  const pointed = await dnsPointsAt({ domain, addresses, caaIdentities }, dns);
  if (pointed.ok) return undefined;
  const baseMs = policyOf(pointed.code)?.wait?.delayMs ?? 900_000;
  const delayMs = nextLookMs(baseMs, waitingSince, run.now());
  return run.defer({ seconds: Math.ceil(delayMs / 1_000) }, pointed.reason, pointed.code);
}

/** An order that the CA no longer knows, or gave up, is no use: another one is placed. */
async function isUsable(ca: AcmeClient, url: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await ca.orderStatus(url, signal)).status !== "invalid";
  } catch (error) {
    if (error instanceof Failure && error.code === "acme-malformed") return false;
    throw error;
  }
}

async function prove(
  { ca, wait = byTimer }: Outside,
  orderUrl: string,
  site: SiteFacts,
  run: CertificateRun,
): Promise<void> {
  const order = await ca.orderStatus(orderUrl, run.signal);
  for (const { url, name, status, http01 } of await ca.authorizations(order, run.signal)) {
    if (status === "valid") continue;
    if (status === "pending" && http01?.status === "pending") {
      const { token } = http01;
      const keyAuthorization = ca.keyAuthorization(http01);
      // Another order has another token: it must not be taken for the one already in place.
      const step = `serve token ${token.slice(0, 16)}`;
      await run.script(step, putChallenge, site.serverId, {
        domain: name,
        token,
        keyAuthorization,
      });
      await ca.answerChallenge(http01, run.signal);
    } else if (status === "pending" && http01 === null) {
      throw failureOf("acme-malformed", `the CA offers no HTTP-01 challenge for ${name}`);
    }
    await waitForAuthorization(ca, url, { signal: run.signal, wait });
  }
}

/** The CA's advice when it has one and answers, else the lifetime. */
async function renewalOf(
  ca: AcmeClient,
  facts: { notBefore: Date; notAfter: Date; ariId: string },
  signal: AbortSignal,
): Promise<Date> {
  const info = await ca.renewalInfo(facts.ariId, signal).catch((error: unknown) => {
    // An installed certificate is not undone because its renewal cannot be planned yet: the sweep asks again.
    if (error instanceof Failure) return null;
    throw error;
  });
  return planRenewal(facts, info?.window ?? null, spreadOf(facts.ariId)).renewAt;
}

/**
 * Obtains and installs a certificate for the site's domain, resuming whatever an earlier attempt left: the same key,
 * the same order.
 */
export async function obtainCertificate(
  outside: Outside,
  wanted: Wanted,
  run: CertificateRun,
): Promise<InstalledCertificate | Deferred> {
  const { ca, profile, wait = byTimer } = outside;
  const { site, replaces } = wanted;
  const { domain, serverId, systemUser } = site;
  const deferred = await notReady(outside, wanted, run);
  if (deferred) return deferred;

  const version = run.id;
  const made = await run.script("make key and CSR", makeKeyAndCsr, serverId, {
    systemUser,
    version,
    domain,
  });
  const csr = readCsr(made.csr);
  if (!isSameNames(csr.names, [domain])) {
    throw failureOf("cert-mismatch", "the server's request is for other names");
  }
  const newOrder = {
    names: [domain],
    ...(profile === "" ? {} : { profile }),
    ...(replaces === "" ? {} : { replaces }),
  };
  const order = await run.step(
    "open order",
    async (signal) => ({ url: (await ca.createOrder(newOrder, signal)).url }),
    { check: ({ url }, { signal }) => isUsable(ca, url, signal) },
  );
  await prove(outside, order.url, site, run);
  const expected = { names: [domain], publicKey: csr.publicKey };
  const { chain } = await run.step("obtain chain", async (signal) => {
    const pem = await obtainChain(ca, order.url, csr.der, { signal, wait });
    inspectChain(pem, { ...expected, now: run.now() });
    return { chain: pem };
  });
  const facts = inspectChain(chain, { ...expected, now: run.now() });
  const { fingerprint } = facts;
  await run.script("install and check on the wire", installCertificate, serverId, {
    ...{ systemUser, version, domain, chain, fingerprint },
  });
  return { ...facts, renewAt: await renewalOf(ca, facts, run.signal) };
}
