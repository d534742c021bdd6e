/** Headers of every answer, and what a request says of where it came from. */
import type { IncomingMessage } from "node:http";

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join("; ");

/** Nothing of others, nothing inline, never in a frame, never kept by a cache on the way. */
export const securityHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": policy,
  "x-content-type-options": "nosniff",
  // "no-referrer" would take the Origin from our own forms.
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
  "cache-control": "no-store",
};

export const strictTransport = { "strict-transport-security": "max-age=31536000" } as const;

export type Reach = {
  readonly isTls: boolean;
  readonly behindProxy: boolean;
  readonly publicUrl: string | undefined;
};

const single = (header: string | string[] | undefined): string =>
  Array.isArray(header) ? (header[0] ?? "") : (header ?? "");

/** The origin that browsers see: as configured, or as the request itself says where nothing is configured. */
function ownOrigin(request: IncomingMessage, { isTls, publicUrl }: Reach): string {
  if (publicUrl !== undefined) return new URL(publicUrl).origin;
  return `${isTls ? "https" : "http"}://${single(request.headers.host)}`;
}

/** True when the request is for us, and not for a name that somebody else pointed at this address. */
export const isForUs = (request: IncomingMessage, { publicUrl }: Reach): boolean =>
  publicUrl === undefined || single(request.headers.host) === new URL(publicUrl).host;

/** A form is ours when the browser says that it came from this very origin. */
export function isOwnForm(request: IncomingMessage, reach: Reach): boolean {
  const site = single(request.headers["sec-fetch-site"]);
  return (
    single(request.headers.origin) === ownOrigin(request, reach) &&
    (site === "" || site === "same-origin")
  );
}

/** Who is at the other end, for the limit on signing in. */
export function addressOf(request: IncomingMessage, { behindProxy }: Reach): string {
  const forwarded = single(request.headers["x-forwarded-for"]).split(",").at(-1)?.trim();
  return (behindProxy && forwarded) || (request.socket.remoteAddress ?? "");
}
