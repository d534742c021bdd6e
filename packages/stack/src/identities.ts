/** The broker identities of the embedded stack: one nkey a user, seeds in files, public keys in the configuration. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type User, users } from "@chom/shared/topology/names";
import { createUser } from "@nats-io/nkeys";

export type Identities = {
  publicKeys: Readonly<Record<User, string>>;
  /** Mode 0600, one a user. */
  seedFiles: Readonly<Record<User, string>>;
};

/** Makes a fresh nkey for every user of the topology and writes its seed into `folder`. */
export function createIdentities(folder: string): Identities {
  const made = users.map((user) => {
    const key = createUser();
    const file = join(folder, `${user}.nk`);
    writeFileSync(file, `${new TextDecoder().decode(key.getSeed())}\n`, { mode: 0o600 });
    return { user, file, publicKey: key.getPublicKey() };
  });
  return {
    publicKeys: Object.fromEntries(made.map(({ user, publicKey }) => [user, publicKey])) as Record<
      User,
      string
    >,
    seedFiles: Object.fromEntries(made.map(({ user, file }) => [user, file])) as Record<
      User,
      string
    >,
  };
}
