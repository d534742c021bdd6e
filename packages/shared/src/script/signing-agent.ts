/** An SSH agent whose keys are elsewhere: it knows public halves only and asks a function for signatures. */
import ssh2, { type ParsedKey } from "ssh2";
import { classify, failureOf } from "../failure/failure.ts";
import { parsePublicKeyLine } from "./ssh-algorithms.ts";

/**
 * Signs one user-authentication request (session id and RFC 4252 request) with the private half of a public key.
 * Answers the raw signature, 64 bytes for ed25519.
 */
export type Sign = (publicKey: string, data: Buffer) => Promise<Buffer>;

const kept = new Set(["signer-refused", "signer-unavailable"]);

/**
 * For one login: it signs once with each key. Codes of that login: signer-unavailable (nobody answered), signer-refused
 * (somebody said no), ssh-misbehaving (the server wants more).
 */
export class SigningAgent extends ssh2.BaseAgent<ParsedKey> {
  readonly #keys: readonly ParsedKey[];
  readonly #sign: Sign;
  readonly #signed = new Set<string>();

  constructor(publicKeys: readonly string[], sign: Sign) {
    super();
    this.#sign = sign;
    this.#keys = publicKeys.map((line) => {
      const { type, blob } = parsePublicKeyLine(line);
      const parsed = ssh2.utils.parseKey(`${type} ${blob.toString("base64")}`);
      if (parsed instanceof Error)
        throw failureOf("invalid-config", `public key: ${parsed.message}`);
      return parsed;
    });
  }

  override getIdentities(callback: (error?: Error | null, keys?: ParsedKey[]) => void): void {
    callback(null, [...this.#keys]);
  }

  override sign(
    publicKey: ParsedKey,
    data: Buffer,
    options: unknown,
    callback?: (error?: Error | null, signature?: Buffer) => void,
  ): void {
    const answer = (typeof options === "function" ? options : callback) as NonNullable<
      typeof callback
    >;
    const line = `${publicKey.type} ${publicKey.getPublicSSH().toString("base64")}`;
    // A server may ask as often as it likes; one log-in needs one signature of a key.
    if (this.#signed.has(line)) {
      answer(failureOf("ssh-misbehaving", "the server wants a second signature of a key"));
      return;
    }
    this.#signed.add(line);
    this.#sign(line, data).then(
      (signature) => answer(null, signature),
      (error: unknown) => {
        const failure = classify(error);
        const code = kept.has(failure.code) ? failure.code : "signer-unavailable";
        answer(failureOf(code, failure.message, { cause: error }));
      },
    );
  }
}
