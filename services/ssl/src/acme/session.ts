/** A signed conversation with one CA: directory, nonces, the account, and requests that carry all three. */
import { Failure, failureOf } from "@chom/shared/failure/failure";
import { broken, type Directory, ownUrl, readDirectory } from "./answers.ts";
import type { Answer, Http } from "./http.ts";
import type { AccountKey } from "./jws.ts";
import { problemFailure, problemOf, readProblem } from "./problem.ts";

export type Session = {
  directory(signal: AbortSignal): Promise<Directory>;
  /** The account's URL; the account is created at the first use, or found by its key. */
  account(signal: AbortSignal): Promise<string>;
  /** Signed with the account. `payload` undefined is a POST-as-GET. Throws the Failure of a problem document. */
  post(url: string, payload: unknown, signal: AbortSignal, accept?: string): Promise<Answer>;
  /** Unsigned. */
  get(url: string, signal: AbortSignal): Promise<Answer>;
};

// A CA may refuse every nonce it gave out before a restart, and a test CA refuses nine in ten on purpose:
// with this many the chance that all are refused is below one in a million. It is a bound, not a wait.
const nonceTries = 150;
const maxSpareNonces = 16;
const noncePattern = /^[A-Za-z0-9_-]{1,256}$/;

/** The JSON of an answer. Fails with `acme-malformed`. */
export function jsonOf(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body);
  } catch {
    throw broken("it is not JSON");
  }
}

/** The Failure an unwelcome answer means: its problem document, or its status. */
export function refusal(answer: Answer): Failure {
  let json: unknown;
  try {
    json = JSON.parse(answer.body);
  } catch {
    json = undefined;
  }
  if (answer.status >= 300 && answer.status < 400) {
    return failureOf("acme-server", `the CA redirects (status ${answer.status}), which is not followed`);
  }
  return problemFailure(readProblem(json, answer.status), "request", answer.retryAfterMs);
}

/** Remembers what a promise gave, but no failure: the next call tries again. */
function remembered<T>(make: (signal: AbortSignal) => Promise<T>) {
  let made: T | undefined;
  return {
    get: async (signal: AbortSignal): Promise<T> => (made ??= await make(signal)),
    forget: () => {
      made = undefined;
    },
  };
}

export type SessionSettings = {
  readonly directoryUrl: string;
  readonly origin: string;
  readonly http: Http;
  readonly key: AccountKey;
  /** `mailto:` URLs. */
  readonly contact: readonly string[];
};

/** Opens a session; nothing is sent yet. */
export function acmeSession({ directoryUrl, origin, http, key, contact }: SessionSettings): Session {
  const spare: string[] = [];

  const keepNonce = (answer: Answer): void => {
    const nonce = answer.header("replay-nonce");
    if (nonce !== undefined && noncePattern.test(nonce) && spare.length < maxSpareNonces) spare.push(nonce);
  };
  const get = async (url: string, signal: AbortSignal): Promise<Answer> => {
    const answer = await http.send({ method: "GET", url: ownUrl(url, origin, "a URL") }, signal);
    if (answer.status !== 200) throw refusal(answer);
    return answer;
  };
  const directory = remembered(async (signal) =>
    readDirectory(jsonOf(await get(directoryUrl, signal)), origin),
  );

  /** A nonce leaves the pool when it is taken, so none is ever sent twice. */
  const takeNonce = async (signal: AbortSignal): Promise<string> => {
    const kept = spare.pop();
    if (kept !== undefined) return kept;
    const { newNonce } = await directory.get(signal);
    const answer = await http.send({ method: "HEAD", url: newNonce }, signal);
    if (answer.status !== 200 && answer.status !== 204) throw refusal(answer);
    keepNonce(answer);
    const nonce = spare.pop();
    if (nonce === undefined) throw broken("it gives no nonce");
    return nonce;
  };

  const sendSigned = async (
    request: { url: string; kid?: string; payload: unknown; accept?: string },
    signal: AbortSignal,
  ): Promise<Answer> => {
    const url = ownUrl(request.url, origin, "a URL");
    const { accept, kid, payload } = request;
    for (let left = nonceTries; ; left -= 1) {
      const nonce = await takeNonce(signal);
      const body = key.signRequest({ url, nonce, payload, ...(kid === undefined ? {} : { kid }) });
      const answer = await http.send({ method: "POST", url, body, ...(accept ? { accept } : {}) }, signal);
      keepNonce(answer);
      if (answer.status >= 200 && answer.status < 300) return answer;
      const failure = refusal(answer);
      if (failure.code !== "acme-bad-nonce" || left <= 1) throw failure;
    }
  };

  const account = remembered(async (signal) => {
    const { newAccount } = await directory.get(signal);
    const payload = { termsOfServiceAgreed: true, ...(contact.length > 0 ? { contact } : {}) };
    const answer = await sendSigned({ url: newAccount, payload }, signal);
    const { status } = jsonOf(answer) as { status?: unknown };
    if (status !== undefined && status !== "valid") {
      throw failureOf("acme-account", `the CA says that the account is ${JSON.stringify(status)?.slice(0, 40)}`);
    }
    return ownUrl(answer.header("location"), origin, "the account's address");
  });

  return {
    directory: directory.get,
    account: account.get,
    get,
    async post(url, payload, signal, accept) {
      const send = async () =>
        sendSigned({ url, kid: await account.get(signal), payload, ...(accept ? { accept } : {}) }, signal);
      try {
        return await send();
      } catch (error) {
        // A CA that lost our account (a test CA restarted) gets it again, once.
        const problem = error instanceof Failure ? problemOf(error) : undefined;
        if (problem?.type !== "accountDoesNotExist") throw error;
        account.forget();
        return send();
      }
    },
  };
}
