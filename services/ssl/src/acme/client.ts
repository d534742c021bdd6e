/** Our ACME client: RFC 8555 with HTTP-01, RFC 9773 (ARI) and profiles. It never sleeps and never retries but a refused nonce. */
import { isIP } from "node:net";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import type { Secret } from "@chom/shared/secrets/secret";
import {
  type Authorization,
  broken,
  type Challenge,
  type Directory,
  type Order,
  ownUrl,
  readAuthorization,
  readChallenge,
  readOrder,
} from "./answers.ts";
import { isAriId, type RenewalInfo, readRenewalInfo } from "./ari.ts";
import { canonicalName, isSameNames } from "./csr.ts";
import { acmeHttp, originOf } from "./http.ts";
import { accountKey } from "./jws.ts";
import { problemOf } from "./problem.ts";
import { acmeSession, jsonOf, type Session } from "./session.ts";

export type AcmeSettings = {
  /** https; http only on this machine. Every URL the CA gives must have its origin. */
  readonly directoryUrl: string;
  /** P-256, PEM or JWK. */
  readonly accountKey: Secret;
  /** PEM roots trusted instead of the system's, for test CAs. */
  readonly trustedRoots?: string;
  /** `mailto:` URLs. */
  readonly contact?: readonly string[];
  /** Per request; default 15 s. */
  readonly timeoutMs?: number;
  /** Only to read a Retry-After that is a date. */
  readonly now?: () => Date;
};

type NewOrder = {
  /** DNS names or addresses; 1 to 100. */
  readonly names: readonly string[];
  readonly profile?: string;
  /** ARI id of the certificate this one replaces; left out again when the CA says it was replaced already. */
  readonly replaces?: string;
};

/**
 * A CA. Every method throws a Failure with a code of `acme-*` or `caa-forbids`: `acme-rate-limited` and
 * `acme-server` carry `retryAfterMs` when the CA said when. An order is resumed by its URL, in any process.
 */
export type AcmeClient = {
  directory(signal: AbortSignal): Promise<Directory>;
  /** URL of the account, created at the first use or found by its key. */
  account(signal: AbortSignal): Promise<string>;
  createOrder(order: NewOrder, signal: AbortSignal): Promise<Order>;
  orderStatus(orderUrl: string, signal: AbortSignal): Promise<Order>;
  authorizations(order: Order, signal: AbortSignal): Promise<readonly Authorization[]>;
  authorization(url: string, signal: AbortSignal): Promise<Authorization>;
  /** What must be served at `/.well-known/acme-challenge/<token>` on port 80. */
  keyAuthorization(challenge: Pick<Challenge, "token">): string;
  /** Says that the token is in place. Repeating it is harmless. */
  answerChallenge(challenge: Pick<Challenge, "url">, signal: AbortSignal): Promise<Challenge>;
  finalize(order: Order, csrDer: Buffer, signal: AbortSignal): Promise<Order>;
  /** The chain as PEM, the certificate first. Not checked here: `inspectChain` does. */
  download(order: Order, signal: AbortSignal): Promise<string>;
  /** Null when the CA has no ARI. */
  renewalInfo(ariId: string, signal: AbortSignal): Promise<RenewalInfo | null>;
  close(): void;
};

const defaultTimeoutMs = 15_000;
const maxNames = 100;
const chainType = "application/pem-certificate-chain";

/** The reads of a client and the one write that needs no order. */
function reader(session: Session, origin: string) {
  const read = async (url: string, signal: AbortSignal) => {
    const answer = await session.post(url, undefined, signal);
    return { json: jsonOf(answer), at: { url, origin, retryAfterMs: answer.retryAfterMs } };
  };
  return {
    async orderStatus(url: string, signal: AbortSignal): Promise<Order> {
      const { json, at } = await read(url, signal);
      return readOrder(json, at);
    },
    async authorization(url: string, signal: AbortSignal): Promise<Authorization> {
      const { json, at } = await read(url, signal);
      return readAuthorization(json, at);
    },
    async placeOrder(order: NewOrder, signal: AbortSignal): Promise<Order> {
      const { newOrder } = await session.directory(signal);
      const answer = await session.post(newOrder, orderPayload(order), signal);
      const url = ownUrl(answer.header("location"), origin, "the order's address");
      return readOrder(jsonOf(answer), { url, origin, retryAfterMs: answer.retryAfterMs });
    },
  };
}

/** Makes a client; nothing is sent yet. Fails with `invalid-config` or `acme-account`. */
export function acmeClient(settings: AcmeSettings): AcmeClient {
  const { directoryUrl, trustedRoots, contact = [], timeoutMs = defaultTimeoutMs } = settings;
  const now = settings.now ?? (() => new Date());
  const origin = originOf(directoryUrl);
  const key = accountKey(settings.accountKey);
  const http = acmeHttp({ timeoutMs, now, ...(trustedRoots ? { trustedRoots } : {}) });
  const session = acmeSession({ directoryUrl, origin, http, key, contact });

  const { orderStatus, authorization, placeOrder } = reader(session, origin);
  return {
    directory: session.directory,
    account: session.account,
    orderStatus,
    authorization,
    async createOrder(order, signal) {
      const made = await placeOrder(order, signal).catch((error: unknown) => {
        const problem = error instanceof Failure ? problemOf(error) : undefined;
        if (problem?.type !== "alreadyReplaced" || order.replaces === undefined) throw error;
        const { replaces: _, ...again } = order;
        return placeOrder(again, signal);
      });
      if (!isSameNames(order.names, made.names)) throw broken("the order is for other names");
      return made;
    },
    async authorizations(order, signal) {
      const all: Authorization[] = [];
      for (const url of order.authorizationUrls) {
        const found = await authorization(url, signal);
        if (!order.names.includes(found.name)) throw broken(`${found.name} was not asked for`);
        all.push(found);
      }
      return all;
    },
    keyAuthorization: ({ token }) => `${token}.${key.thumbprint}`,
    async answerChallenge({ url }, signal) {
      return readChallenge(jsonOf(await session.post(url, {}, signal)), origin);
    },
    async finalize(order, csrDer, signal) {
      const payload = { csr: csrDer.toString("base64url") };
      const answer = await session.post(order.finalizeUrl, payload, signal);
      return readOrder(jsonOf(answer), {
        url: order.url,
        origin,
        retryAfterMs: answer.retryAfterMs,
      });
    },
    async download(order, signal) {
      if (order.certificateUrl === null) {
        throw failureOf("acme-server", `the order is ${order.status} and has no certificate yet`);
      }
      return (await session.post(order.certificateUrl, undefined, signal, chainType)).body;
    },
    async renewalInfo(ariId, signal) {
      const { renewalInfo } = await session.directory(signal);
      if (renewalInfo === null) return null;
      if (!isAriId(ariId)) throw failureOf("acme-malformed", "this is no ARI certificate id");
      const answer = await session.get(`${renewalInfo}/${ariId}`, signal);
      return readRenewalInfo(jsonOf(answer), answer.retryAfterMs);
    },
    close: http.close,
  };
}

function orderPayload({ names, profile, replaces }: NewOrder) {
  if (names.length === 0 || names.length > maxNames) {
    throw failureOf(
      "acme-malformed",
      `a certificate has 1 to ${maxNames} names, not ${names.length}`,
    );
  }
  return {
    identifiers: names.map((name) => ({
      type: isIP(name) === 0 ? "dns" : "ip",
      value: canonicalName(name),
    })),
    ...(profile ? { profile } : {}),
    ...(replaces ? { replaces } : {}),
  };
}
