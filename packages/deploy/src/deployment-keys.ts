/**
 * Every key, certificate and password that a deployment of CHOM begins with, in the places where its processes read
 * them. For one machine (compose) and for a cluster that is tried out; a company's own CA and secret store replace it.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serverConfig } from "@chom/shared/topology/server-config";
import { topology } from "@chom/shared/topology/topology";
import { type Ca, createCa, issueCertificate } from "@chom/stack/certificates";
import { createIdentities, type Identities } from "@chom/stack/identities";
import { runCommand } from "@chom/stack/run-command";
import { createTokenIssuer } from "@chom/stack/tokens";
import { root } from "@chom/stack/service-process";
import { ownerOf, type Passwords, serviceSql, urlOf } from "./database-roles.ts";

/** Those with a schema of their own. */
const withSchema = ["credentials", "provisioning", "ssl", "backup", "scheduler"] as const;
const processes = [...withSchema, "dashboard", "topology"] as const;

export type KeyOptions = {
  /** Makes names like `nats.<domain>`; empty on one machine. */
  readonly domain?: string;
  readonly replicas: 1 | 3;
  readonly now: Date;
};

/** Writes a secret that only its owner and its group may read. */
function secret(path: string, text: string): void {
  writeFileSync(path, text.endsWith("\n") ? text : `${text}\n`, { mode: 0o640 });
}

function folderOf(...parts: string[]): string {
  const path = join(...parts);
  mkdirSync(path, { recursive: true, mode: 0o750 });
  return path;
}

const hosts = (name: string, domain: string): string[] =>
  [name, `${name}-api`].flatMap((host) => [host, ...(domain ? [`${host}.${domain}`] : [])]);

async function certificate(ca: Ca, name: string, folder: string, domain: string): Promise<void> {
  const made = await issueCertificate(ca, {
    commonName: name,
    dnsNames: ["localhost", ...hosts(name, domain)],
    uris: [`spiffe://chom/${name}`],
    days: 365,
  });
  secret(join(folder, "ca.crt"), ca.certPem);
  secret(join(folder, "tls.crt"), made.certPem);
  secret(join(folder, "tls.key"), made.keyPem);
}

/** The broker's part: accounts and users from the permission matrix, and its own certificate. */
async function brokerKeys(folder: string, ca: Ca, options: KeyOptions): Promise<Identities> {
  const seeds = folderOf(folder, "seeds");
  const identities = createIdentities(seeds);
  const table = topology({ replicas: options.replicas });
  const nats = folderOf(folder, "nats");
  secret(join(nats, "users.conf"), serverConfig(table, { publicKeys: identities.publicKeys }));
  await certificate(ca, "nats", folderOf(nats, "tls"), options.domain ?? "");
  return identities;
}

/** Passwords of the database and the SQL that makes its roles. */
function databaseKeys(folder: string): ReadonlyMap<string, Passwords> {
  const password = () => randomBytes(18).toString("base64url");
  const passwords = new Map(
    withSchema.map((name) => [name, { own: password(), owner: password() }]),
  );
  const postgres = folderOf(folder, "postgres");
  secret(join(postgres, "superuser.password"), randomBytes(18).toString("base64url"));
  secret(join(postgres, "roles.sql"), serviceSql(passwords, "chom"));
  return passwords;
}

async function backupIdentity(): Promise<string> {
  // As an operator would: services are not imported from here.
  const made = await runCommand(process.execPath, [`${root}services/backup/src/make-keys.ts`]);
  if (made.code !== 0) throw new Error(`make-keys failed: ${made.stderr}`);
  return made.stdout;
}

/**
 * Fills the empty or missing `folder`; refuses one that holds anything, since keys that are made anew open nothing
 * that was sealed before. The private half of the CA and of the token issuer are not kept: `first.token` (24 h, tenant
 * platform) makes lasting API tokens, and certificates (a year) are made anew by a CA of your own.
 */
export async function makeDeploymentKeys(folder: string, options: KeyOptions): Promise<void> {
  folderOf(folder);
  const ca = await createCa("CHOM services", 366);
  const identities = await brokerKeys(folder, ca, options);
  const passwords = databaseKeys(folder);
  const day = options.now.toISOString().slice(0, 10);
  const rootKey = `root-${day} ${randomBytes(32).toString("base64")}`;
  const tokens = folderOf(folder, "tokens");
  const issuer = await createTokenIssuer(tokens, `first-${day}`);
  chmodSync(issuer.keysFile, 0o644);
  secret(
    join(folder, "first.token"),
    await issuer.issue("platform", { actor: "first-operator", lifetimeSeconds: 86_400 }),
  );
  for (const name of processes) {
    const own = folderOf(folder, name);
    await certificate(ca, name, folderOf(own, "tls"), options.domain ?? "");
    const secrets = folderOf(own, "secrets");
    secret(join(secrets, "nats.seed"), readSeed(identities, name));
    const password = passwords.get(name);
    if (!password) continue;
    secret(join(secrets, "postgres.url"), urlOf(name, password.own));
    // Apart: whoever serves must not be able to read it.
    const migration = folderOf(folder, `${name}-migration`, "secrets");
    secret(join(migration, "owner.url"), urlOf(ownerOf(name), password.owner));
    secret(join(folderOf(own, "root"), "root.key"), rootKey);
  }
  const secretsOf = (name: string, file: string) => join(folder, name, "secrets", file);
  secret(secretsOf("scheduler", "pruner.seed"), readSeed(identities, "pruner"));
  secret(secretsOf("dashboard", "session.key"), randomBytes(32).toString("base64"));
  secret(secretsOf("backup", "backup-identity.key"), await backupIdentity());
  rmSync(join(folder, "seeds"), { recursive: true });
}

const readSeed = (identities: Identities, user: keyof Identities["seedFiles"]): string =>
  readFileSync(identities.seedFiles[user], "utf8");
