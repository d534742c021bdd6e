/** Configuration text for nats-server: users with public keys only, so it holds no secret. */
import { invalid } from "../failure/failure.ts";
import { type User, users } from "./names.ts";
import { type Permissions, permissionMatrix } from "./permissions.ts";
import type { Topology } from "./topology.ts";

export type ServerConfigOptions = {
  /** Public nkey of every user (`U…`). A user left out cannot log in. */
  readonly publicKeys: Readonly<Partial<Record<User, string>>>;
  /** Paths on the broker's machine; with `caFile` clients must show a certificate of that CA. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly caFile?: string };
};

const publicKey = /^U[A-Z2-7]{55}$/;
const quoted = (subject: string): string => JSON.stringify(subject);
const list = (subjects: readonly string[]) => `[${subjects.map(quoted).join(", ")}]`;

/** Where the streams are. Whoever is in it could make the broker's answers requests of administration. */
const home = "CHOM";
const administrator: User = "topology";

/** One answer or several: the broker must know, because it makes a way back for each request. */
const answersMany = /^\$JS\.API\.(?:CONSUMER\.MSG\.NEXT|DIRECT\.GET)\./;
const isInbox = (subject: string): boolean => subject.startsWith("_INBOX_");

type Member = Permissions & { readonly user: User; readonly nkey: string };

const accountOf = (user: User): string => (user === administrator ? home : user.toUpperCase());

const userText = ({ user, nkey, publish, subscribe }: Member): string => `      { # ${user}
        nkey: ${nkey}
        permissions: {
          publish: { allow: ${list(publish)} }
          subscribe: { allow: ${list(subscribe)} }
        }
      }`;

/** Each subject that is let through, with the accounts that may have it. */
function exported(members: readonly Member[], subjectsOf: (member: Member) => readonly string[]) {
  const found = new Map<string, string[]>();
  for (const member of members) {
    for (const subject of new Set(subjectsOf(member))) {
      found.set(subject, [...(found.get(subject) ?? []), accountOf(member.user)]);
    }
  }
  return [...found];
}

const heard = ({ subscribe }: Member) => subscribe.filter((subject) => !isInbox(subject));

const exportsOf = (members: readonly Member[]): string[] => [
  ...exported(members, ({ publish }) => publish).map(
    ([subject, accounts]) =>
      `      { service: ${quoted(subject)}, accounts: [${accounts.join(", ")}]${
        answersMany.test(subject) ? ", response_type: stream" : ""
      } }`,
  ),
  ...exported(members, heard).map(
    ([subject, accounts]) =>
      `      { stream: ${quoted(subject)}, accounts: [${accounts.join(", ")}] }`,
  ),
];

const memberAccount = (member: Member): string => `  ${accountOf(member.user)}: {
    imports: [
${[
  ...new Set(
    member.publish.map((s) => `      { service: { account: ${home}, subject: ${quoted(s)} } }`),
  ),
  ...heard(member).map((s) => `      { stream: { account: ${home}, subject: ${quoted(s)} } }`),
].join("\n")}
    ]
    users: [
${userText(member)}
    ]
  }`;

/**
 * Accounts and users, to be appended to a configuration that says where to listen and where JetStream stores.
 * `sync_interval: always` belongs into that `jetstream` block in production. Fails with `invalid` for a key
 * that is no public user nkey.
 *
 * Everybody but the administrator has an account of their own and imports what they may say and hear (decision 0010):
 * the broker looks at what a client publishes, but not at where it wants the answer. With one account for all, a request
 * that is allowed, with `$JS.API.STREAM.PURGE.JOURNAL` as its reply, purges the journals in the broker's own name.
 */
export function serverConfig(table: Topology, { publicKeys, tls }: ServerConfigOptions): string {
  const matrix = permissionMatrix(table);
  const known = users.flatMap((user): Member[] => {
    const nkey = publicKeys[user];
    if (nkey === undefined) return [];
    if (publicKey.test(nkey)) return [{ user, nkey, ...matrix[user] }];
    throw invalid([{ field: `public_keys.${user}`, description: "is no public user nkey" }]);
  });
  const members = known.filter(({ user }) => user !== administrator);
  return `${tls ? tlsBlock(tls) : ""}accounts {
  SYS: {}
  ${home}: {
    jetstream: enabled
    exports: [
${exportsOf(members).join("\n")}
    ]
    users: [
${known
  .filter(({ user }) => user === administrator)
  .map(userText)
  .join("\n")}
    ]
  }
${members.map(memberAccount).join("\n")}
}
system_account: SYS
`;
}

const tlsBlock = (tls: NonNullable<ServerConfigOptions["tls"]>): string => `tls {
  cert_file: ${JSON.stringify(tls.certFile)}
  key_file: ${JSON.stringify(tls.keyFile)}
${tls.caFile ? `  ca_file: ${JSON.stringify(tls.caFile)}\n  verify: true\n` : ""}}
`;
