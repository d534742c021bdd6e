/** The dashboard's settings: where the services are, how it is reached, and the key of its sessions. */
import { readFileSync } from "node:fs";
import { operator } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import {
  address,
  file,
  flag,
  int,
  oneOf,
  readSettings,
  secretFile,
  url,
  type Values,
} from "@chom/shared/service/settings";

const readers = {
  environment: oneOf("CHOM_ENVIRONMENT", ["production", "development", "test"]),
  logLevel: oneOf("CHOM_LOG_LEVEL", ["debug", "info", "warn", "error", "silent"], {
    fallback: "info",
  }),
  listen: address("CHOM_LISTEN"),
  credentials: address("CHOM_CREDENTIALS_URL"),
  provisioning: address("CHOM_PROVISIONING_URL"),
  ssl: address("CHOM_SSL_URL"),
  backup: address("CHOM_BACKUP_URL"),
  scheduler: address("CHOM_SCHEDULER_URL"),
  /** CA of the services. Its own certificate is none: it has no rights of its own. */
  tlsCaFile: file("CHOM_TLS_CA_FILE", { fallback: undefined }),
  webCertFile: file("CHOM_WEB_CERT_FILE", { fallback: undefined }),
  webKey: secretFile("CHOM_WEB_KEY_FILE", { fallback: undefined }),
  /** A proxy ends TLS and sets X-Forwarded-For; then the wire behind it may be plain. */
  behindProxy: flag("CHOM_WEB_BEHIND_PROXY", { fallback: false }),
  /** Scheme, host and port in the address bar; what forms may come from. */
  publicUrl: url("CHOM_WEB_PUBLIC_URL", { fallback: undefined }),
  sessionKeys: secretFile("CHOM_SESSION_KEY_FILE"),
  liveMax: int("CHOM_WEB_LIVE_MAX", { min: 1, max: 10_000, fallback: 500 }),
};

type Given = Values<typeof readers>;

export type DashboardSettings = Omit<Given, "sessionKeys" | "tlsCaFile" | "webCertFile"> & {
  readonly sessionKeys: readonly Secret[];
  readonly servicesCa: Buffer | undefined;
  readonly webCert: Buffer | undefined;
};

const shortestKey = 32;

function problemsOf(given: Given, keys: readonly Secret[]): string[] {
  const problems: string[] = [];
  if (keys.length === 0 || keys.some((key) => key.reveal().length < shortestKey)) {
    problems.push(
      `CHOM_SESSION_KEY_FILE needs lines of at least ${shortestKey} signs, newest first`,
    );
  }
  if ((given.webCertFile === undefined) !== (given.webKey === undefined)) {
    problems.push("CHOM_WEB_CERT_FILE and CHOM_WEB_KEY_FILE are set together or not at all");
  }
  if (given.environment !== "production") return problems;
  if (!given.tlsCaFile) problems.push("CHOM_TLS_CA_FILE is not set, and production needs TLS");
  if (!given.publicUrl) problems.push("CHOM_WEB_PUBLIC_URL is not set, and production needs it");
  if (given.publicUrl !== undefined && !given.publicUrl.startsWith("https://")) {
    problems.push("CHOM_WEB_PUBLIC_URL must begin with https:// in production");
  }
  if (!given.webCertFile && !given.behindProxy) {
    problems.push(
      "CHOM_WEB_CERT_FILE is not set, and production needs it or CHOM_WEB_BEHIND_PROXY",
    );
  }
  return problems;
}

/** Reads and checks them. Failure `operator` "bad-settings" names all that are bad. */
export function dashboardSettings(
  environment: Readonly<Record<string, string | undefined>>,
): DashboardSettings {
  const given = readSettings(readers, environment);
  const keys = given.sessionKeys
    .reveal()
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => new Secret(line));
  const problems = problemsOf(given, keys);
  if (problems.length > 0) {
    throw operator("bad-settings", `these settings are bad:\n  ${problems.join("\n  ")}`);
  }
  const { tlsCaFile, webCertFile, ...rest } = given;
  return {
    ...rest,
    sessionKeys: keys,
    servicesCa: tlsCaFile === undefined ? undefined : readFileSync(tlsCaFile),
    webCert: webCertFile === undefined ? undefined : readFileSync(webCertFile),
  };
}
