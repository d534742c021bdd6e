/** A conversation with one CA: its directory, our account there, and requests signed with it. */
import { Failure, failureOf } from "@chom/shared/failure/failure";
import { broken, type Directory, ownUrl, readDirectory } from "./answers.ts";
import type { Answer, Http } from "./http.ts";
import type { AccountKey } from "./jws.ts";
import { problemOf } from "./problem.ts";
import { refusal, signedPost } from "./signed-post.ts";

export type Session = {
  directory(signal: AbortSignal): Promise<Directory>;
  /** The account's URL; the account is created at the first use, or found by its key. */
  account(signal: AbortSignal): Promise<string>;
  /** Signed with the account. `payload` undefined is a POST-as-GET. Throws the Failure of a problem document. */
  post(url: string, payload: unknown, signal: AbortSignal, accept?: string): Promise<Answer>;
  /** Unsigned. */
  get(url: string, signal: AbortSignal): Promise<Answer>;
};

/** The JSON of an answer. Fails with `acme-malformed`. */
export function jsonOf(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body);
  } catch {
    throw broken("it is not JSON");
  }
}

/** Remembers what a promise gave, but no failure: the next call tries again. */
function remembered<T>(make: (signal: AbortSignal) => Promise<T>) {
  let made: T | undefined;
  return {
    get: async (signal: AbortSignal): Promise<T> => {
      made ??= await make(signal);
      return made;
    },
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
export function acmeSession(settings: SessionSettings): Session {
  const { directoryUrl, origin, http, key, contact } = settings;
  const get = async (url: string, signal: AbortSignal): Promise<Answer> => {
    const answer = await http.send({ method: "GET", url: ownUrl(url, origin, "a URL") }, signal);
    if (answer.status !== 200) throw refusal(answer);
    return answer;
  };
  const directory = remembered(async (signal) =>
    readDirectory(jsonOf(await get(directoryUrl, signal)), origin),
  );
  const newNonce = async (signal: AbortSignal) => (await directory.get(signal)).newNonce;
  const send = signedPost({ http, key, origin, newNonce });
  const account = remembered(async (signal) => {
    const { newAccount } = await directory.get(signal);
    const payload = { termsOfServiceAgreed: true, ...(contact.length > 0 ? { contact } : {}) };
    const answer = await send({ url: newAccount, payload }, signal);
    const status = (jsonOf(answer) as { status?: unknown } | null)?.status ?? "valid";
    if (status !== "valid") {
      throw failureOf("acme-account", "the CA says that the account is no longer valid");
    }
    return ownUrl(answer.header("location"), origin, "the account's address");
  });
  return {
    directory: directory.get,
    account: account.get,
    get,
    async post(url, payload, signal, accept) {
      const signed = async () => {
        const kid = await account.get(signal);
        return send({ url, kid, payload, ...(accept ? { accept } : {}) }, signal);
      };
      try {
        return await signed();
      } catch (error) {
        // A CA that lost our account (a test CA restarted) gets it again, once.
        const problem = error instanceof Failure ? problemOf(error) : undefined;
        if (problem?.type !== "accountDoesNotExist") throw error;
        account.forget();
        return signed();
      }
    },
  };
}
