/** SSH key pairs for tests and stand-ins. */
import ssh2 from "ssh2";

// CommonJS: Node finds no named exports in it.
const { utils } = ssh2;

/**
 * A new ed25519 pair: `public` an authorized_keys line, `private` in OpenSSH's format. About one in 350 that
 * ssh2 1.17 makes cannot be read back by ssh2 itself, so the pair is tried before it is given.
 */
export function newSshKeyPair(): ReturnType<typeof utils.generateKeyPairSync> {
  for (;;) {
    const pair = utils.generateKeyPairSync("ed25519");
    if (!(utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}
