/** Configuration text for nats-server: users with public keys only, so it holds no secret. */
import { invalid } from "../failure/failure.ts";
import { type User, users } from "./names.ts";
import { permissionMatrix } from "./permissions.ts";
import type { Topology } from "./topology.ts";

export type ServerConfigOptions = {
  /** Public nkey of every user (`U…`). A user left out cannot log in. */
  readonly publicKeys: Readonly<Partial<Record<User, string>>>;
  /** Paths on the broker's machine; with `caFile` clients must show a certificate of that CA. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly caFile?: string };
};

const publicKey = /^U[A-Z2-7]{55}$/;
const list = (subjects: readonly string[]) =>
  `[${subjects.map((s) => JSON.stringify(s)).join(", ")}]`;

/**
 * Accounts and users, to be appended to a configuration that says where to listen and where JetStream stores.
 * `sync_interval: always` belongs into that `jetstream` block in production. Fails with `invalid` for a key
 * that is no public user nkey.
 */
export function serverConfig(table: Topology, { publicKeys, tls }: ServerConfigOptions): string {
  const matrix = permissionMatrix(table);
  const entries = users.flatMap((user) => {
    const nkey = publicKeys[user];
    if (nkey === undefined) return [];
    if (!publicKey.test(nkey)) {
      throw invalid([{ field: `public_keys.${user}`, description: "is no public user nkey" }]);
    }
    const { publish, subscribe } = matrix[user];
    return [
      `      { # ${user}
        nkey: ${nkey}
        permissions: {
          publish: { allow: ${list(publish)} }
          subscribe: { allow: ${list(subscribe)} }
        }
      }`,
    ];
  });
  return `${tls ? tlsBlock(tls) : ""}accounts {
  SYS: {}
  CHOM: {
    jetstream: enabled
    users: [
${entries.join("\n")}
    ]
  }
}
system_account: SYS
`;
}

const tlsBlock = (tls: NonNullable<ServerConfigOptions["tls"]>): string => `tls {
  cert_file: ${JSON.stringify(tls.certFile)}
  key_file: ${JSON.stringify(tls.keyFile)}
${tls.caFile ? `  ca_file: ${JSON.stringify(tls.caFile)}\n  verify: true\n` : ""}}
`;
