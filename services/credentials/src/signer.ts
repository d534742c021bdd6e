/** What the signer signs: one RFC 4252 public-key request for one account, and no other bytes. Pure. */
import { failureOf } from "@chom/shared/failure/failure";

export type UserAuthRequest = {
  readonly user: string;
  /** The public key in SSH wire form. */
  readonly publicKey: Buffer;
};

const refused = (why: string) => failureOf("signer-refused", `not a login request: ${why}`);
const userauthRequest = 50;
/** Lengths of the hashes that key exchanges use: a session id is one of those. */
const sessionIdLengths = [20, 32, 48, 64];

/** Reads a length-prefixed string; the answer's `rest` is what follows. */
function take(bytes: Buffer): { value: Buffer; rest: Buffer } {
  if (bytes.length < 4) throw refused("it ends early");
  const end = 4 + bytes.readUInt32BE(0);
  if (end > bytes.length) throw refused("it ends early");
  return { value: bytes.subarray(4, end), rest: bytes.subarray(end) };
}

function expect(bytes: Buffer, what: string, text: string): Buffer {
  const { value, rest } = take(bytes);
  if (!value.equals(Buffer.from(text))) throw refused(`another ${what}`);
  return rest;
}

/**
 * Parses session id and request (RFC 4252 section 7). Failure `signer-refused` unless it is exactly a `publickey`
 * request for `ssh-connection` with an ssh-ed25519 key, and nothing follows.
 */
export function parseUserAuth(data: Buffer): UserAuthRequest {
  if (data.length > 4_096) throw refused("it is too long");
  const session = take(data);
  if (!sessionIdLengths.includes(session.value.length)) throw refused("no session id");
  if (session.rest[0] !== userauthRequest) throw refused("another message");
  const user = take(session.rest.subarray(1));
  let rest = expect(user.rest, "service", "ssh-connection");
  rest = expect(rest, "method", "publickey");
  if (rest[0] !== 1) throw refused("no signature is asked for");
  rest = expect(rest.subarray(1), "algorithm", "ssh-ed25519");
  const key = take(rest);
  if (key.rest.length > 0) throw refused("something follows");
  expect(key.value, "kind of key", "ssh-ed25519");
  return { user: user.value.toString("utf8"), publicKey: key.value };
}

/**
 * The id of the key to sign with. Failure `signer-refused` unless the request is for this account and one of
 * these keys.
 */
export function keyToSignWith(
  data: Buffer,
  user: string,
  keys: readonly { readonly keyId: string; readonly publicKey: string }[],
): string {
  const request = parseUserAuth(data);
  if (request.user !== user) throw failureOf("signer-refused", "the login is for another user");
  const asked = request.publicKey.toString("base64");
  const found = keys.find(({ publicKey }) => publicKey.split(" ")[1] === asked);
  if (!found) throw failureOf("signer-refused", "the login is with another key");
  return found.keyId;
}
