/** Telling an alert to a URL: signed, with an id that makes repeats harmless, and never to an address of our own. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { type ClientRequest, request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";
import { isIP } from "node:net";
import { transient } from "@chom/shared/failure/failure";
import type { Networks } from "@chom/shared/input/networks";
import { lookupIn, type Resolver, resolveIn } from "@chom/shared/input/resolve";
import { hostOf } from "@chom/shared/input/url";
import type { Secret } from "@chom/shared/secrets/secret";

export type Webhook = {
  readonly url: string;
  /** Key of the signature. */
  readonly secret: Secret;
  /** Where receivers may be. */
  readonly networks: Networks;
  readonly resolver?: Resolver | undefined;
};

const timeoutMs = 10_000;

/** `t=<seconds>,v1=<hex>`: HMAC-SHA256 of `<seconds>.<body>`, so that an old body cannot be sent again as new. */
export function signatureOf(secret: Secret, seconds: number, body: string): string {
  const mac = createHmac("sha256", secret.reveal()).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${mac}`;
}

/** What a receiver does: true when the signature fits and is at most `toleranceSeconds` old. */
export function isSigned(
  secret: Secret,
  { signature, body }: { signature: string; body: string },
  nowSeconds: number,
  toleranceSeconds = 300,
): boolean {
  const [, time = ""] = /^t=(\d{1,12}),v1=[0-9a-f]{64}$/.exec(signature) ?? [];
  if (time === "" || Math.abs(nowSeconds - Number(time)) > toleranceSeconds) return false;
  const wanted = signatureOf(secret, Number(time), body);
  return timingSafeEqual(Buffer.from(wanted), Buffer.from(signature));
}

/**
 * Sends once; redirects are not followed. Fails with `address-not-allowed` for an address of our own, and with
 * `service-unavailable` when the receiver does not answer with 2xx within 10 s.
 */
export async function send(
  webhook: Webhook,
  delivery: { readonly eventId: string; readonly body: string },
  now: Date,
): Promise<void> {
  const url = new URL(webhook.url);
  const host = hostOf(url);
  // Literal addresses are never looked up.
  if (isIP(host) !== 0) await resolveIn(webhook.networks, host, webhook.resolver);
  const { eventId, body } = delivery;
  const seconds = Math.floor(now.getTime() / 1_000);
  const options = {
    method: "POST",
    timeout: timeoutMs,
    signal: AbortSignal.timeout(timeoutMs),
    headers: {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "user-agent": "chom-alerts",
      "idempotency-key": eventId,
      "chom-event-id": eventId,
      "chom-signature": signatureOf(webhook.secret, seconds, body),
    },
    lookup: lookupIn(webhook.networks, webhook.resolver),
  };
  const request = url.protocol === "https:" ? tlsRequest(url, options) : plainRequest(url, options);
  return answered(request, body);
}

function answered(request: ClientRequest, body: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const failed = (why: string, cause?: unknown) =>
    reject(transient("service-unavailable", `the webhook ${why}`, { cause }));
  request.on("response", (response) => {
    // What it says does not matter, and must not fill our memory.
    response.resume();
    const { statusCode = 0 } = response;
    if (statusCode >= 200 && statusCode < 300) resolve();
    else failed(`answered ${statusCode}`);
  });
  request.on("timeout", () => request.destroy(new Error("silent")));
  request.on("error", (error) =>
    "kind" in error ? reject(error) : failed("does not answer", error),
  );
  request.end(body);
  return promise;
}
