/** Renewal information of a CA (RFC 9773): the certificate's id there, and the window it advises. */
import type { X509Certificate } from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";
import { elements, extensionValue, only, tags } from "./der.ts";

/** When the CA would like the certificate to be renewed; `end` is after `start`. */
export type RenewalWindow = { readonly start: Date; readonly end: Date };

export type RenewalInfo = {
  readonly window: RenewalWindow;
  /** When to ask again: the CA's Retry-After kept between a minute and a day (section 4.3), else 6 hours. */
  readonly askAgainMs: number;
};

const authorityKeyIdentifier = "551d23"; // 2.5.29.35
const extensionsTag = 0xa3;
const keyIdentifierTag = 0x80;
const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const askAgainDefaultMs = 6 * 60 * minuteMs;

/** Section 4.1: base64url(key identifier of the issuer) "." base64url(serial number). Fails with `acme-malformed`. */
export function ariId(certificate: X509Certificate): string {
  const whole = only(certificate.raw, tags.sequence);
  const [toBeSigned] = elements(whole.content);
  if (!toBeSigned) throw failureOf("acme-malformed", "the certificate is empty");
  const parts = elements(toBeSigned.content);
  // The version is optional (tag a0); the serial comes after it.
  const serial = parts.find(({ tag }) => tag === 0x02);
  const extensions = parts.find(({ tag }) => tag === extensionsTag);
  const list = extensions && only(extensions.content, tags.sequence);
  const value = list && extensionValue(list.content, authorityKeyIdentifier);
  const key =
    value &&
    elements(only(value, tags.sequence).content).find(({ tag }) => tag === keyIdentifierTag);
  if (!serial || !key) {
    throw failureOf("acme-malformed", "the certificate names no key of its issuer");
  }
  return `${key.content.toString("base64url")}.${serial.content.toString("base64url")}`;
}

/** True for what `ariId` may give: two base64url parts, 128 characters at most. */
export const isAriId = (text: string): boolean =>
  text.length <= 128 && /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(text);

/** Reads a renewalInfo answer. Fails with `acme-malformed` when it has no sensible window. */
export function readRenewalInfo(json: unknown, retryAfterMs: number | undefined): RenewalInfo {
  const window = (json as { suggestedWindow?: { start?: unknown; end?: unknown } } | null)
    ?.suggestedWindow;
  const start = new Date(typeof window?.start === "string" ? window.start : Number.NaN);
  const end = new Date(typeof window?.end === "string" ? window.end : Number.NaN);
  if (!(start.getTime() < end.getTime())) {
    throw failureOf("acme-malformed", "the CA's renewal window is not one");
  }
  const askAgainMs = Math.min(Math.max(retryAfterMs ?? askAgainDefaultMs, minuteMs), dayMs);
  return { window: { start, end }, askAgainMs };
}
