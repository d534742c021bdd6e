/** What a service stands on, for tests: a broker with its topology, Postgres with roles, keys, certificates, tokens. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ca, createCa, issueCertificate } from "@chom/stack/certificates";
import { createIdentities } from "@chom/stack/identities";
import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { createTokenIssuer, type TokenIssuer } from "@chom/stack/tokens";
import { connectNats } from "../event-log/nats.ts";
import { parseTokenKeys } from "../rpc/authenticate.ts";
import type { TlsIdentity } from "../rpc/server.ts";
import { Secret } from "../secrets/secret.ts";
import { apply } from "../topology/apply.ts";
import { inboxPrefix, type User } from "../topology/names.ts";
import { serverConfig } from "../topology/server-config.ts";
import { topology } from "../topology/topology.ts";
import { type KeyMaker, startKeyMaker } from "./key-maker.ts";

export type Ground = {
  readonly folder: string;
  readonly nats: NatsServer;
  readonly postgres: Postgres;
  readonly caFile: string;
  readonly seedFiles: Readonly<Record<User, string>>;
  readonly issue: TokenIssuer["issue"];
  /** The environment of a service, listening on a free port. */
  readonly environment: (service: User) => Promise<Record<string, string>>;
  readonly stop: () => Promise<void>;
};

/** Certificates of services, by one CA. */
const certifier =
  (ca: Ca) =>
  async (name: string): Promise<TlsIdentity> => {
    const made = await issueCertificate(ca, {
      commonName: name,
      dnsNames: ["localhost"],
      ipAddresses: ["127.0.0.1"],
      uris: [`spiffe://chom/${name}`],
    });
    const [certificate, key] = [made.certPem, made.keyPem].map((pem) => Buffer.from(pem));
    return { ca: Buffer.from(ca.certPem), cert: certificate as Buffer, key: key as Buffer };
  };

type KeyGround = {
  readonly rootKey: string;
  readonly natsUrl: string;
  readonly seedFile: string;
  readonly keysFile: string;
  readonly tls: TlsIdentity;
};

/** Hands out tenants' keys as the credentials service does. */
async function keyMakerOf({ rootKey, natsUrl, seedFile, keysFile, tls }: KeyGround) {
  const seed = new Secret(readFileSync(seedFile, "utf8"));
  const own = { servers: natsUrl, name: "keys", seed, inboxPrefix: inboxPrefix("credentials") };
  const connection = await connectNats(own);
  const tokenKeys = parseTokenKeys(readFileSync(keysFile, "utf8"));
  const started = await startKeyMaker({ nats: connection, rootKeyFile: rootKey, tls, tokenKeys });
  return { ...started, close: () => connection.close() };
}

/** Starts it; about two seconds. `empty` leaves the broker without streams. */
export async function startGround({ empty = false } = {}): Promise<Ground> {
  const scratch = scratchFolder("ground");
  const folder = scratch.path;
  const identities = createIdentities(folder);
  const table = topology({ replicas: 1 });
  const nats = await startNatsServer({
    config: serverConfig(table, { publicKeys: identities.publicKeys }),
  });
  if (!empty) {
    const seed = new Secret(readFileSync(identities.seedFiles.topology, "utf8"));
    const admin = await connectNats({
      ...{ servers: nats.url, name: "ground", seed, inboxPrefix: inboxPrefix("topology") },
    });
    await apply(admin, table, { nowMs: Date.now() });
    await admin.close();
  }
  const postgres = await startPostgres();
  await postgres.createDatabase("chom");
  const tokens = await createTokenIssuer(folder);
  const ca = await createCa("ground");
  const [caFile, rootKey] = [join(folder, "ca.pem"), join(folder, "root.key")];
  writeFileSync(caFile, ca.certPem);
  writeFileSync(rootKey, `test ${randomBytes(32).toString("base64")}\n`, { mode: 0o600 });

  const certificateOf = certifier(ca);
  let maker: Promise<KeyMaker & { close: () => Promise<void> }> | undefined;
  /** Started when the first service needs it. */
  const makeKeys = async () =>
    keyMakerOf({
      ...{ rootKey, natsUrl: nats.url, keysFile: tokens.keysFile },
      seedFile: identities.seedFiles.credentials,
      tls: await certificateOf("credentials"),
    });

  async function environment(service: User): Promise<Record<string, string>> {
    const password = randomBytes(12).toString("base64url");
    const { url, ownerUrl } = await postgres.createServiceRoles(service, password, "chom");
    const made = await certificateOf(service);
    maker ??= empty ? undefined : makeKeys();
    const others = await maker;
    const file = (suffix: string, content: string | Buffer) => {
      const path = join(folder, `${service}.${suffix}`);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    return {
      CHOM_ENVIRONMENT: "test",
      CHOM_LOG_LEVEL: "warn",
      CHOM_LISTEN: "127.0.0.1:0",
      CHOM_NATS_URL: nats.url,
      CHOM_NATS_SEED_FILE: identities.seedFiles[service],
      CHOM_POSTGRES_URL_FILE: file("postgres", `${url}\n`),
      CHOM_POSTGRES_OWNER_URL_FILE: file("owner", `${ownerUrl}\n`),
      CHOM_ROOT_KEY_FILE: rootKey,
      CHOM_TOKEN_KEYS_FILE: tokens.keysFile,
      CHOM_TLS_CA_FILE: caFile,
      CHOM_TLS_CERT_FILE: file("crt", made.cert),
      CHOM_TLS_KEY_FILE: file("key", made.key),
      ...(others ? { CHOM_CREDENTIALS_URL: others.address } : {}),
    };
  }

  return {
    ...{ folder, nats, postgres, caFile, environment },
    seedFiles: identities.seedFiles,
    issue: tokens.issue,
    async stop() {
      const running = await maker?.catch(() => undefined);
      await running?.stop();
      await Promise.all([running?.close(), nats.stop(), postgres.stop()]);
      scratch.remove();
    },
  };
}
