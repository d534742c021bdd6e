/** Signed POSTs and the nonces they need: each nonce is sent once, and a refused one is replaced at once. */
import { type Failure, failureOf } from "@chom/shared/failure/failure";
import { broken, ownUrl } from "./answers.ts";
import type { Answer, Http } from "./http.ts";
import type { AccountKey } from "./jws.ts";
import { problemFailure, readProblem } from "./problem.ts";

type SignedRequest = {
  readonly url: string;
  /** The account's URL; left out while there is none. */
  readonly kid?: string;
  /** Undefined is a POST-as-GET. */
  readonly payload: unknown;
  readonly accept?: string;
};

export type SignedPost = (request: SignedRequest, signal: AbortSignal) => Promise<Answer>;

// A CA may refuse every nonce it gave out before a restart, and a test CA refuses nine in ten on purpose:
// with this many the chance that all are refused is below one in a million. It is a bound, not a wait.
const nonceTries = 150;
const maxSpareNonces = 16;
const noncePattern = /^[A-Za-z0-9_-]{1,256}$/;

/** The Failure an unwelcome answer means: its problem document, or its status. */
export function refusal(answer: Answer): Failure {
  if (answer.status >= 300 && answer.status < 400) {
    return failureOf(
      "acme-server",
      `the CA redirects (status ${answer.status}), which is not followed`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(answer.body);
  } catch {
    json = undefined;
  }
  return problemFailure(readProblem(json, answer.status), "request", answer.retryAfterMs);
}

/** Makes the sender of one CA; `newNonce` gives the URL where nonces come from. */
export function signedPost(ca: {
  readonly http: Http;
  readonly key: AccountKey;
  readonly origin: string;
  readonly newNonce: (signal: AbortSignal) => Promise<string>;
}): SignedPost {
  const spare: string[] = [];
  const keep = (answer: Answer): void => {
    const nonce = answer.header("replay-nonce") ?? "";
    if (noncePattern.test(nonce) && spare.length < maxSpareNonces) spare.push(nonce);
  };
  const take = async (signal: AbortSignal): Promise<string> => {
    const kept = spare.pop();
    if (kept !== undefined) return kept;
    const url = await ca.newNonce(signal);
    const answer = await ca.http.send({ method: "HEAD", url }, signal);
    if (answer.status !== 200 && answer.status !== 204) throw refusal(answer);
    keep(answer);
    const fresh = spare.pop();
    if (fresh === undefined) throw broken("it gives no nonce");
    return fresh;
  };
  return async ({ accept, ...request }, signal) => {
    const url = ownUrl(request.url, ca.origin, "a URL");
    for (let left = nonceTries; ; left -= 1) {
      const body = ca.key.signRequest({ ...request, url, nonce: await take(signal) });
      const post = { method: "POST", url, body, ...(accept ? { accept } : {}) } as const;
      const answer = await ca.http.send(post, signal);
      keep(answer);
      if (answer.status >= 200 && answer.status < 300) return answer;
      const failure = refusal(answer);
      if (failure.code !== "acme-bad-nonce" || left <= 1) throw failure;
    }
  };
}
