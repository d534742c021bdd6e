/** A root that never leaves its keeper: the transit engine of Vault and OpenBao, asked over HTTPS to wrap and unwrap. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { type Failure, operator, permanent, transient } from "../failure/failure.ts";
import { bound } from "./aead.ts";
import type { RootKeys } from "./root-keys.ts";
import { Secret } from "./secret.ts";

export type TransitOptions = {
  /** Where the engine is mounted, like `https://vault.example:8200/v1/transit`. */
  readonly url: string;
  /** Name of its key; of type aes256-gcm96 or chacha20-poly1305, which take associated data. */
  readonly key: string;
  /** Read before each question, so that a renewed token is used. */
  readonly token: () => Secret;
  /** PEM of the CA of the engine, when it is none that the machine knows. */
  readonly ca?: Buffer | undefined;
  /** Default 3 s. */
  readonly timeoutMs?: number;
};

const answerBytesMax = 64 * 1024;
const rootPattern = /^transit\/[\w-]{1,64}\/v\d{1,9}$/;
const boxPattern = /^vault:v(\d{1,9}):[A-Za-z0-9+/]{1,4096}={0,2}$/;

/** True for the root ids that this kind gives: `transit/<key>/v<version>`. */
export const isTransitRoot = (rootId: string): boolean => rootPattern.test(rootId);

type Answer = { readonly status: number; readonly body: string };

/** One POST. Never with the question in its errors: that holds a key. */
function post(options: TransitOptions, verb: string, question: object): Promise<Answer> {
  const { url, key, token, ca, timeoutMs = 3_000 } = options;
  const target = new URL(`${url.replace(/\/$/, "")}/${verb}/${encodeURIComponent(key)}`);
  const ask = target.protocol === "http:" ? httpRequest : httpsRequest;
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const away = (why: string) =>
    reject(transient("root-unavailable", `the keeper of the root key ${why}`));
  const headers = { "x-vault-token": token().reveal(), "content-type": "application/json" };
  const signal = AbortSignal.timeout(timeoutMs);
  const call = ask(target, { method: "POST", headers, signal, ...(ca ? { ca } : {}) });
  call.on("error", () => away(signal.aborted ? "does not answer in time" : "cannot be reached"));
  call.on("response", (response) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > answerBytesMax) call.destroy();
      chunks.push(chunk);
    });
    response.on("error", () => away("stopped in the middle of its answer"));
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
    );
  });
  call.end(JSON.stringify(question));
  return promise;
}

/** What its status means. 400 is how the engine answers what does not decrypt, or needs a version that is gone. */
function refusal(status: number, verb: string): Failure {
  const asked = `the keeper of the root key answered ${status} to ${verb}`;
  if (status === 403) return operator("root-forbidden", `${asked}: its token may not, or is over`);
  if (status === 404) return operator("key-missing", `${asked}: it has no such key`);
  if (status === 400 && verb === "decrypt") {
    return permanent("seal-broken", `${asked}: not wrapped here, or its version is gone`);
  }
  return transient("root-unavailable", asked);
}

async function answered(
  options: TransitOptions,
  verb: "encrypt" | "decrypt",
  question: object,
): Promise<Record<string, unknown>> {
  const { status, body } = await post(options, verb, question);
  if (status !== 200) throw refusal(status, verb);
  try {
    return (JSON.parse(body) as { data: Record<string, unknown> }).data;
  } catch {
    throw transient("root-unavailable", "the keeper of the root key answered no JSON");
  }
}

/**
 * Roots kept by a transit engine; rotating its key makes a new root. Services but credentials need `update` on
 * `decrypt/<key>` only. Failures: `transient` "root-unavailable", `operator` "root-forbidden" and "key-missing",
 * `permanent` "seal-broken".
 */
export function transitRoots(options: TransitOptions): RootKeys {
  const aad = (context: readonly string[]) => bound(context).toString("base64");
  return {
    async wrap(key, context) {
      const question = {
        plaintext: key.reveal().toString("base64"),
        associated_data: aad(context),
      };
      const { ciphertext } = await answered(options, "encrypt", question);
      const [, version] = boxPattern.exec(String(ciphertext)) ?? [];
      if (!version) throw transient("root-unavailable", "the root's keeper answered no ciphertext");
      const rootId = `transit/${options.key}/v${version}`;
      return { rootId, wrapped: Buffer.from(String(ciphertext)) };
    },
    async unwrap({ rootId, wrapped }, context) {
      if (!rootId.startsWith(`transit/${options.key}/v`)) {
        throw operator("key-missing", `the root "${rootId}" is not kept by "${options.key}"`);
      }
      const question = { ciphertext: wrapped.toString(), associated_data: aad(context) };
      const { plaintext } = await answered(options, "decrypt", question);
      return new Secret(Buffer.from(String(plaintext), "base64"));
    },
  };
}
