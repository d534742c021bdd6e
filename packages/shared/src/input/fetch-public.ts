/** Fetching what an address outside gives, with each host on the way checked before it is connected to. */
import { type IncomingMessage, request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { isIP } from "node:net";
import { failureOf } from "../failure/failure.ts";
import type { Networks } from "./networks.ts";
import { lookupIn, type Resolver, resolveIn } from "./resolve.ts";
import { hostOf, httpUrlProblem } from "./url.ts";

const redirects = new Set([301, 302, 303, 307, 308]);
const mostRedirects = 5;

export type Fetching = {
  readonly networks: Networks;
  readonly signal: AbortSignal;
  readonly resolver?: Resolver;
};

async function fetchOnce(url: URL, { networks, signal, resolver }: Fetching) {
  const host = hostOf(url);
  // Literal addresses are never looked up.
  if (isIP(host) !== 0) await resolveIn(networks, host);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = url.protocol === "https:" ? secureRequest : plainRequest;
  request(url, { signal, agent: false, lookup: lookupIn(networks, resolver) })
    .on("response", resolve)
    .on("error", reject)
    .end();
  return promise;
}

/**
 * The answer of a GET, whatever its status; its body is for the caller to read or destroy. At most five redirects are
 * followed, never from https to http. Failures `address-not-allowed`, `repo-unavailable`.
 */
export async function fetchPublic(location: string, fetching: Fetching): Promise<IncomingMessage> {
  let at = location;
  for (let hops = 0; hops <= mostRedirects; hops += 1) {
    const problem = httpUrlProblem(at);
    if (problem) throw failureOf("address-not-allowed", `${location} leads to what ${problem}`);
    const url = new URL(at);
    const response = await fetchOnce(url, fetching);
    const { statusCode = 0, headers } = response;
    if (!redirects.has(statusCode) || headers.location === undefined) return response;
    response.destroy();
    if (!URL.canParse(headers.location, at)) break;
    const next = new URL(headers.location, url);
    if (url.protocol === "https:" && next.protocol !== "https:") {
      throw failureOf("address-not-allowed", `${location} leads from https to ${next.protocol}`);
    }
    at = next.href;
  }
  throw failureOf("repo-unavailable", `${location} redirects without an end`);
}
