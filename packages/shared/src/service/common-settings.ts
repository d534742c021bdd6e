/** Settings that every service has, and the checks over several of them. */
import { readFileSync } from "node:fs";
import type { JSONWebKeySet } from "jose";
import { Failure } from "../failure/failure.ts";
import { ratesOf } from "../limit/named-limits.ts";
import { parseTokenKeys } from "../rpc/authenticate.ts";
import type { TlsIdentity } from "../rpc/server.ts";
import { parseRootKeys, type RootKey, readPrivateFile, readRootKeys } from "../secrets/keyring.ts";
import {
  address,
  durationMs,
  file,
  int,
  oneOf,
  secretFile,
  secretText,
  text,
  unlessSet,
  url,
  type Values,
} from "./settings.ts";
import { telemetryProblems, telemetryReaders } from "./telemetry-settings.ts";
import { workProblems, workReaders } from "./work-settings.ts";

const secondMs = 1_000;

/** Readers of `CHOM_…` settings; `pnpm chom` and the deployment files name the same. */
export const commonReaders = {
  environment: oneOf("CHOM_ENVIRONMENT", ["production", "development", "test"]),
  logLevel: oneOf("CHOM_LOG_LEVEL", ["debug", "info", "warn", "error", "silent"], {
    fallback: "info",
  }),
  /** Needed but by workers, which answer only health calls, and those only when it is set. */
  listen: address("CHOM_LISTEN", { fallback: undefined }),
  natsUrl: url("CHOM_NATS_URL"),
  natsSeed: secretFile("CHOM_NATS_SEED_FILE", { fallback: undefined }),
  natsCaFile: file("CHOM_NATS_CA_FILE", { fallback: undefined }),
  postgresUrl: secretFile("CHOM_POSTGRES_URL_FILE"),
  /** Of the role that owns the tables; with it a service makes them itself when it starts. Not in production. */
  postgresOwnerUrl: secretFile("CHOM_POSTGRES_OWNER_URL_FILE", { fallback: undefined }),
  /** Roots of tenants' keys; with a transit engine it only opens what earlier roots wrapped or sealed. */
  rootKeyFile: unlessSet(file("CHOM_ROOT_KEY_FILE"), ["CHOM_ROOT_KEY", "CHOM_TRANSIT_URL"]),
  /** The same lines in the environment itself, where every process of the user can read them: never in production. */
  rootKey: secretText("CHOM_ROOT_KEY", { fallback: undefined }),
  /** Where a transit engine of Vault or OpenBao is mounted; then it wraps tenants' keys. */
  transitUrl: url("CHOM_TRANSIT_URL", { fallback: undefined }),
  transitKey: text("CHOM_TRANSIT_KEY", { fallback: "chom" }),
  transitTokenFile: file("CHOM_TRANSIT_TOKEN_FILE", { fallback: undefined }),
  transitCaFile: file("CHOM_TRANSIT_CA_FILE", { fallback: undefined }),
  tokenKeysFile: file("CHOM_TOKEN_KEYS_FILE"),
  tlsCaFile: file("CHOM_TLS_CA_FILE", { fallback: undefined }),
  tlsCertFile: file("CHOM_TLS_CERT_FILE", { fallback: undefined }),
  tlsKey: secretFile("CHOM_TLS_KEY_FILE", { fallback: undefined }),
  credentialsAddress: address("CHOM_CREDENTIALS_URL", { fallback: undefined }),
  workerConcurrency: int("CHOM_WORKER_CONCURRENCY", { min: 1, max: 1_000, fallback: 8 }),
  postgresConnections: int("CHOM_POSTGRES_CONNECTIONS", { min: 2, max: 100, fallback: 10 }),
  /** How long running jobs may go on after SIGTERM. */
  drainMs: durationMs("CHOM_DRAIN", { min: 0, max: 600 * secondMs, fallback: 25 * secondMs }),
  /** Jobs at once on one server, over all processes of all families; 0: no cap. */
  serverConcurrency: int("CHOM_SERVER_CONCURRENCY", { min: 0, max: 1_000, fallback: 8 }),
  /** Jobs at once of one tenant, over all processes of all families; 0: no cap. */
  tenantConcurrency: int("CHOM_TENANT_CONCURRENCY", { min: 0, max: 1_000, fallback: 0 }),
  /** Largest input of a job in bytes, as canonical JSON; the broker takes messages of 1 MiB. */
  payloadMaxBytes: int("CHOM_PAYLOAD_MAX_BYTES", {
    min: 1_024,
    max: 512 * 1_024,
    fallback: 256 * 1_024,
  }),
  /** Calls a second of one caller and of one tenant, and streams of one caller, each for this process. */
  callsPerCaller: int("CHOM_CALLS_PER_CALLER", { min: 1, max: 100_000, fallback: 200 }),
  callsPerTenant: int("CHOM_CALLS_PER_TENANT", { min: 1, max: 100_000, fallback: 1_000 }),
  streamsPerCaller: int("CHOM_STREAMS_PER_CALLER", { min: 1, max: 10_000, fallback: 32 }),
  /** Connections of one address; raise it where many callers come through one proxy. */
  connectionsPerAddress: int("CHOM_CONNECTIONS_PER_ADDRESS", {
    min: 1,
    max: 100_000,
    fallback: 200,
  }),
  /** How long a job that was asked for by name is tried to be accepted before it is refused. */
  requestPatienceMs: durationMs("CHOM_REQUEST_PATIENCE", {
    min: secondMs,
    max: 86_400 * secondMs,
    fallback: 900 * secondMs,
  }),
  /** Named limits that differ from the defaults, like `acme-orders=45/7d`. */
  limits: text("CHOM_LIMITS", { fallback: undefined }),
  ...workReaders,
  ...telemetryReaders,
} as const;

export type CommonSettings = Values<typeof commonReaders>;

/** What the files named by the settings hold. */
export type Loaded = {
  readonly rootKeys: readonly RootKey[];
  readonly tokenKeys: JSONWebKeySet;
  readonly tls: TlsIdentity | undefined;
};

/** Keys made by the stack, the demo and tests are named so that production can refuse them. */
const developmentName = /^(?:dev|demo|test|stack)/;

function productionProblems(settings: CommonSettings, loaded: Loaded): string[] {
  if (settings.environment !== "production") return [];
  const problems: string[] = [];
  if (!loaded.tls) problems.push("CHOM_TLS_CERT_FILE is not set, and production needs mutual TLS");
  if (settings.postgresOwnerUrl) {
    problems.push(
      "CHOM_POSTGRES_OWNER_URL_FILE is for `main.ts migrate`; who serves must not hold it",
    );
  }
  if (!settings.natsSeed) problems.push("CHOM_NATS_SEED_FILE is not set, and production needs it");
  if (!settings.natsUrl.startsWith("tls://")) {
    problems.push("CHOM_NATS_URL must begin with tls:// in production");
  }
  if (settings.rootKey) problems.push("CHOM_ROOT_KEY is for development: use a file");
  if (settings.transitUrl && !settings.transitUrl.startsWith("https://")) {
    problems.push("CHOM_TRANSIT_URL must begin with https:// in production");
  }
  if (loaded.rootKeys.some(({ keyId }) => developmentName.test(keyId))) {
    problems.push("CHOM_ROOT_KEY_FILE holds a development key");
  }
  if (loaded.tokenKeys.keys.some(({ kid }) => developmentName.test(kid ?? ""))) {
    problems.push("CHOM_TOKEN_KEYS_FILE holds a development key");
  }
  return problems;
}

type Attempt = <T>(variable: string, read: () => T) => T | undefined;

/** Of the environment first: who sets it wants it to be the newest. */
function rootKeysOf(
  { rootKey, rootKeyFile }: CommonSettings,
  attempt: Attempt,
): readonly RootKey[] {
  const inText = attempt("CHOM_ROOT_KEY", () => (rootKey ? parseRootKeys(rootKey.reveal()) : []));
  const inFile = attempt("CHOM_ROOT_KEY_FILE", () =>
    rootKeyFile ? readRootKeys(rootKeyFile) : [],
  );
  return [...(inText ?? []), ...(inFile ?? [])];
}

function transitProblems({ transitUrl, transitKey, transitTokenFile }: CommonSettings): string[] {
  if (!transitUrl) return [];
  const problems: string[] = [];
  if (!/^[\w-]{1,64}$/.test(transitKey)) {
    problems.push("CHOM_TRANSIT_KEY must be 1 to 64 letters, digits, _ and -");
  }
  if (!transitTokenFile) return [...problems, "CHOM_TRANSIT_TOKEN_FILE is not set"];
  try {
    readPrivateFile(transitTokenFile);
  } catch (error) {
    problems.push(`CHOM_TRANSIT_TOKEN_FILE: ${error instanceof Error ? error.message : "is bad"}`);
  }
  return problems;
}

/** Reads the key files and refuses what is unsafe, all of it at once, as Failure `operator` "bad-settings". */
export function loadCommon(settings: CommonSettings): Loaded {
  const problems = [...workProblems(settings), ...telemetryProblems(settings)];
  if (!settings.listen && settings.role !== "worker") {
    problems.push("CHOM_LISTEN is not set, and only CHOM_ROLE=worker can do without");
  }
  const attempt: Attempt = (variable, read) => {
    try {
      return read();
    } catch (error) {
      problems.push(`${variable}: ${error instanceof Error ? error.message : "is bad"}`);
      return undefined;
    }
  };
  const rootKeys = rootKeysOf(settings, attempt);
  problems.push(...transitProblems(settings));
  const tokenKeys = attempt("CHOM_TOKEN_KEYS_FILE", () =>
    parseTokenKeys(readFileSync(settings.tokenKeysFile, "utf8")),
  );
  const { tlsCaFile, tlsCertFile, tlsKey } = settings;
  const given = [tlsCaFile, tlsCertFile, tlsKey].filter((part) => part !== undefined);
  attempt("CHOM_LIMITS", () => ratesOf(settings.limits));
  if (given.length === 1 || given.length === 2) {
    problems.push("CHOM_TLS_CA_FILE, CHOM_TLS_CERT_FILE and CHOM_TLS_KEY_FILE belong together");
  }
  const tls =
    tlsCaFile && tlsCertFile && tlsKey
      ? {
          ca: readFileSync(tlsCaFile),
          cert: readFileSync(tlsCertFile),
          key: Buffer.from(tlsKey.reveal()),
        }
      : undefined;
  const loaded = { rootKeys, tokenKeys: tokenKeys ?? { keys: [] }, tls };
  problems.push(...productionProblems(settings, loaded));
  if (problems.length > 0) {
    const message = `these settings are bad:\n  ${problems.join("\n  ")}`;
    throw new Failure("operator", "bad-settings", message);
  }
  return loaded;
}
