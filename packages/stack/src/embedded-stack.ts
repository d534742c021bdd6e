/** Everything CHOM needs on one machine, as in production but small: broker, Postgres, CA, DNS, and all services. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { connectNats } from "@chom/shared/event-log/nats";
import { failureOf } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import { migrateService } from "@chom/shared/service/migrate";
import { sharedTables } from "@chom/shared/service/shared-tables";
import { apply } from "@chom/shared/topology/apply";
import { inboxPrefix } from "@chom/shared/topology/names";
import { serverConfig } from "@chom/shared/topology/server-config";
import { topology } from "@chom/shared/topology/topology";
import { type Ca, createCa, issueCertificate } from "./certificates.ts";
import { postgresClients } from "./database-clients.ts";
import { createIdentities, type Identities } from "./identities.ts";
import { type NatsServer, startNatsServer } from "./nats-server.ts";
import { onExit } from "./on-exit.ts";
import { type Pebble, startPebble } from "./pebble.ts";
import { type Postgres, startPostgres } from "./postgres.ts";
import { type Progress, silent } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";
import {
  prepareService,
  root,
  type ServiceName,
  type ServiceProcess,
  serviceNames,
} from "./service-process.ts";
import { createTokenIssuer, type TokenOptions } from "./tokens.ts";

export type EmbeddedStackOptions = {
  progress?: Progress;
  /** More settings for a service, over those of the stack. */
  settings?: Partial<Record<ServiceName, Record<string, string>>>;
  /** Start the dashboard too; default false. Else it is started by its `restart`. */
  dashboard?: boolean;
  /** Fsync before every acknowledgement of the broker; default false. */
  syncAlways?: boolean;
};

export type EmbeddedStack = {
  /** Folder with keys, logs and the vault; removed at the end. */
  folder: string;
  nats: NatsServer;
  postgres: Postgres;
  pebble: Pebble;
  identities: Identities;
  services: Readonly<Record<ServiceName, ServiceProcess>>;
  /** Its pages are at `http://<address>`. */
  dashboard: ServiceProcess;
  /** PEM of the CA that signed the services' certificates. */
  caPem: string;
  token: (tenant: string, options?: TokenOptions) => Promise<string>;
  /** Writes a context file for `chom` that acts for one tenant; answers its path. */
  context: (tenant: string) => Promise<string>;
  /** Stops and removes everything, newest first. Idempotent. */
  stop: () => Promise<void>;
};

/** Collects what to stop, and stops it newest first, once. */
function stopper(): { add: (stop: () => unknown) => void; stop: () => Promise<void> } {
  const stops: (() => unknown)[] = [];
  let stopping: Promise<void> | undefined;
  const run = async () => {
    for (const stop of stops.reverse()) await stop();
  };
  return { add: (stop) => stops.push(stop), stop: () => (stopping ??= run()) };
}

async function startBroker(
  folder: string,
  options: EmbeddedStackOptions,
): Promise<{ nats: NatsServer; identities: Identities }> {
  const identities = createIdentities(folder);
  const table = topology({ replicas: 1 });
  const nats = await startNatsServer({
    config: serverConfig(table, { publicKeys: identities.publicKeys }),
    syncAlways: options.syncAlways ?? false,
    ...(options.progress ? { progress: options.progress } : {}),
  });
  const admin = await connectNats({
    servers: nats.url,
    name: "stack",
    seed: new Secret(readFileSync(identities.seedFiles.topology, "utf8")),
    inboxPrefix: inboxPrefix("topology"),
  });
  try {
    await apply(admin, table, { nowMs: Date.now() });
  } finally {
    await admin.close();
  }
  return { nats, identities };
}

/** As `main.ts migrate` of the service does. */
const makeTables = (service: ServiceName, ownerUrl: string): Promise<void> =>
  migrateService({
    ...{ service, url: new Secret(ownerUrl), shared: sharedTables(service) },
    folder: pathToFileURL(`${root}services/${service}/migrations`),
  });

/** Two roles and one connection file a service: none can read another's schema, and who serves owns no table. */
async function createRoles(
  postgres: Postgres,
  folder: string,
): Promise<Record<ServiceName, string>> {
  await postgres.createDatabase("chom");
  const files: [ServiceName, string][] = [];
  const owners: [ServiceName, string][] = [];
  // One after another: grants on one database at the same time refuse each other.
  for (const name of serviceNames) {
    const password = randomBytes(18).toString("base64url");
    const { url, ownerUrl } = await postgres.createServiceRoles(name, password, "chom");
    const file = join(folder, `${name}.postgres`);
    writeFileSync(file, `${url}\n`, { mode: 0o600 });
    files.push([name, file]);
    owners.push([name, ownerUrl]);
  }
  await Promise.all(owners.map(([name, ownerUrl]) => makeTables(name, ownerUrl)));
  return Object.fromEntries(files) as Record<ServiceName, string>;
}

type TlsFiles = { ca: string; cert: string; key: string };

async function tlsFiles(ca: Ca, name: string, folder: string): Promise<TlsFiles> {
  const made = await issueCertificate(ca, {
    commonName: name,
    dnsNames: ["localhost", name],
    ipAddresses: ["127.0.0.1"],
    uris: [`spiffe://chom/${name}`],
  });
  const files = {
    ca: join(folder, "ca.pem"),
    cert: join(folder, `${name}.crt`),
    key: join(folder, `${name}.key`),
  };
  writeFileSync(files.ca, ca.certPem);
  writeFileSync(files.cert, made.certPem);
  writeFileSync(files.key, made.keyPem, { mode: 0o600 });
  return files;
}

/** The control plane's own database as a source of backups, and programs that are as new as the server. */
async function databaseSettings(
  folder: string,
  postgres: Postgres,
  progress: Progress,
): Promise<Record<string, string>> {
  const file = join(folder, "control-plane.url");
  writeFileSync(file, `${postgres.url.replace(/\/postgres$/, "/chom")}\n`, { mode: 0o600 });
  const sources = { CHOM_DATABASES: `control-plane=${file}` };
  try {
    return { ...sources, CHOM_DATABASE_TOOLS: await postgresClients(progress) };
  } catch (error) {
    progress(`backups of the database need its client programs: ${(error as Error).message}`);
    return sources;
  }
}

/** Keys that outlive the log: the root of payload encryption, the ACME account, the backup identity. */
async function ownSettings(
  folder: string,
  pebble: Pebble,
  databases: Promise<Record<string, string>>,
): Promise<Record<ServiceName, Record<string, string>>> {
  const acmeCa = join(folder, "acme-ca.pem");
  writeFileSync(acmeCa, pebble.ca);
  const identity = join(folder, "backup-identity.key");
  mkdirSync(join(folder, "vault"), { mode: 0o700 });
  // As an operator would: services are not imported from here.
  const made = await runCommand(process.execPath, [`${root}services/backup/src/make-keys.ts`]);
  if (made.code !== 0) throw failureOf("service-down", `make-keys failed: ${made.stderr}`);
  writeFileSync(identity, made.stdout, { mode: 0o600 });
  return {
    // The servers under test are on this machine.
    credentials: { CHOM_ALLOWED_NETWORKS: "10.0.0.0/8,127.0.0.0/8" },
    provisioning: {},
    ssl: {
      CHOM_ACME_DIRECTORY_URL: pebble.directoryUrl,
      CHOM_ACME_CA_FILE: acmeCa,
      CHOM_ACME_PROFILE: "default",
      CHOM_ACME_CONTACT: "mailto:operator@example.test",
      CHOM_DNS_SERVERS: pebble.dnsAddress,
    },
    backup: {
      CHOM_VAULT: `file://${join(folder, "vault")}`,
      CHOM_BACKUP_IDENTITY_FILE: identity,
      ...(await databases),
    },
    scheduler: {},
  };
}

/** Starts the whole stack but for servers (see `startVps`), and answers when every service serves. */
export async function startEmbeddedStack(
  options: EmbeddedStackOptions = {},
): Promise<EmbeddedStack> {
  const progress = options.progress ?? silent;
  const ends = stopper();
  onExit(ends.stop);
  try {
    const scratch = scratchFolder("stack");
    ends.add(scratch.remove);
    const folder = scratch.path;
    progress("starting nats-server, Postgres and the test CA");
    const { nats, identities } = await startBroker(folder, options);
    ends.add(nats.stop);
    const postgres = await startPostgres();
    ends.add(postgres.stop);
    const pebble = await startPebble({ progress });
    ends.add(pebble.stop);
    const roles = await createRoles(postgres, folder);
    const tokens = await createTokenIssuer(folder);
    const ca = await createCa("CHOM embedded stack");
    const rootKey = join(folder, "root.key");
    writeFileSync(rootKey, `stack ${randomBytes(32).toString("base64")}\n`, { mode: 0o600 });
    const databases = databaseSettings(folder, postgres, progress);
    const own = await ownSettings(folder, pebble, databases);
    const services = {} as Record<ServiceName, ServiceProcess>;
    let credentialsAddress = "";
    for (const name of serviceNames) {
      const tls = await tlsFiles(ca, name, folder);
      const service = await prepareService(
        name,
        {
          ...{ CHOM_ENVIRONMENT: "development", CHOM_NATS_URL: nats.url },
          CHOM_NATS_SEED_FILE: identities.seedFiles[name],
          ...{ CHOM_POSTGRES_URL_FILE: roles[name], CHOM_ROOT_KEY_FILE: rootKey },
          ...{ CHOM_TLS_CA_FILE: tls.ca, CHOM_TLS_CERT_FILE: tls.cert },
          ...{ CHOM_TLS_KEY_FILE: tls.key, CHOM_TOKEN_KEYS_FILE: tokens.keysFile },
          ...(name === "credentials" ? {} : { CHOM_CREDENTIALS_URL: credentialsAddress }),
          ...(name === "scheduler" ? { CHOM_PRUNER_SEED_FILE: identities.seedFiles.pruner } : {}),
          ...own[name],
          ...options.settings?.[name],
        },
        join(folder, `${name}.log`),
      );
      if (name === "credentials") credentialsAddress = service.address;
      services[name] = service;
    }
    progress("starting the services");
    ends.add(() => Promise.all(serviceNames.map((name) => services[name].stop())));
    const dashboard = await prepareDashboard(folder, services);
    ends.add(dashboard.stop);
    await Promise.all([
      ...serviceNames.map((name) => services[name].restart()),
      ...(options.dashboard === true ? [dashboard.restart()] : []),
    ]);
    return {
      ...{ folder, nats, postgres, pebble, identities, services, dashboard },
      caPem: ca.certPem,
      token: tokens.issue,
      context: (tenant) => writeContext(folder, tenant, services, tokens.issue),
      stop: ends.stop,
    };
  } catch (error) {
    await ends.stop();
    throw error;
  }
}

/** On plain HTTP, which browsers trust at `localhost` as they trust HTTPS elsewhere. */
function prepareDashboard(
  folder: string,
  services: Readonly<Record<ServiceName, ServiceProcess>>,
): Promise<ServiceProcess> {
  const sessionKey = join(folder, "session.key");
  writeFileSync(sessionKey, `${randomBytes(32).toString("base64")}\n`, { mode: 0o600 });
  const urls = serviceNames.map((name) => [
    `CHOM_${name.toUpperCase()}_URL`,
    services[name].address,
  ]);
  return prepareService(
    "dashboard",
    {
      ...Object.fromEntries(urls),
      CHOM_ENVIRONMENT: "development",
      CHOM_TLS_CA_FILE: join(folder, "ca.pem"),
      CHOM_SESSION_KEY_FILE: sessionKey,
    },
    join(folder, "dashboard.log"),
  );
}

async function writeContext(
  folder: string,
  tenant: string,
  services: Record<ServiceName, ServiceProcess>,
  issue: (tenant: string) => Promise<string>,
): Promise<string> {
  const tokenFile = join(folder, `${tenant}.token`);
  writeFileSync(tokenFile, await issue(tenant), { mode: 0o600 });
  const file = join(folder, `${tenant}.context.json`);
  const urls = Object.fromEntries(serviceNames.map((name) => [name, services[name].address]));
  writeFileSync(file, JSON.stringify({ urls, caFile: join(folder, "ca.pem"), tokenFile }, null, 2));
  return file;
}
