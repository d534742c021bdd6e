/** The scripts that make a site, with what they take and answer. */
import { permanent } from "@chom/shared/failure/failure";
import { type Fields, script } from "@chom/shared/script/script";
import type { Secret } from "@chom/shared/secrets/secret";
import type { SiteNames } from "./names.ts";

const at = (name: string): URL => new URL(`./scripts/${name}`, import.meta.url);
const yes = (flag: boolean): string => (flag ? "yes" : "no");
const created = (fields: Fields) => ({ created: fields.flag("created") });
const changed = (fields: Fields) => ({ changed: fields.flag("changed") });

/** What a server is like before a site is put on it. */
export type ServerReport = {
  readonly os: string;
  readonly freeBytes: number;
  readonly freeInodes: number;
  readonly ipv6: boolean;
  /** Installed versions, lowest first. */
  readonly phpVersions: readonly string[];
  /** `nginx`, `free`, or the name of the program that has it. */
  readonly port80: string;
  readonly nginx: "ok" | "broken" | "absent";
  /** The foreign file that knows the domain already; empty when none does. */
  readonly vhostConflict: string;
  readonly database: "running" | "down" | "absent";
  readonly addresses: readonly string[];
};

function oneOf<const Words extends readonly string[]>(
  fields: Fields,
  key: string,
  words: Words,
): Words[number] {
  const text = fields.text(key);
  if (words.includes(text)) return text;
  throw permanent("protocol-error", `${key} is "${text}"`);
}

export const checkServer = script({
  file: at("check-server.sh"),
  timeoutMs: 30_000,
  variables: ({ systemUser, domain }: { systemUser: string; domain: string }) => ({
    SYSTEM_USER: systemUser,
    DOMAIN: domain,
  }),
  output: (fields): ServerReport => ({
    os: fields.text("os"),
    freeBytes: fields.count("free_bytes"),
    freeInodes: fields.count("free_inodes"),
    ipv6: fields.flag("ipv6"),
    phpVersions: fields.lines("php_version"),
    port80: fields.text("port_80"),
    nginx: oneOf(fields, "nginx", ["ok", "broken", "absent"]),
    vhostConflict: fields.text("vhost_conflict"),
    database: oneOf(fields, "database", ["running", "down", "absent"]),
    addresses: fields.lines("address"),
  }),
});

export const prepareWebServer = script({
  file: at("prepare-web-server.sh"),
  timeoutMs: 60_000,
  variables: ({ ipv6 }: { ipv6: boolean }) => ({ IPV6: yes(ipv6) }),
  output: changed,
});

export const makeSiteUser = script({
  file: at("make-site-user.sh"),
  timeoutMs: 30_000,
  variables: ({ systemUser, rootPath }: SiteNames) => ({
    SYSTEM_USER: systemUser,
    ROOT_PATH: rootPath,
  }),
  output: created,
});

export type WithPassword<Input> = Input & { readonly password: Secret };

export const makeDatabase = script({
  file: at("make-database.sh"),
  timeoutMs: 60_000,
  variables: ({ systemUser, databaseName, password }: WithPassword<SiteNames>) => ({
    SYSTEM_USER: systemUser,
    DB_NAME: databaseName,
    DB_USER: databaseName,
    DB_PASSWORD: password,
  }),
  output: (fields) => ({ ...created(fields), socket: fields.text("socket") }),
});

export const makePhpPool = script({
  file: at("make-php-pool.sh"),
  timeoutMs: 60_000,
  variables: (input: { systemUser: string; phpVersion: string; pool: Secret }) => ({
    SYSTEM_USER: input.systemUser,
    PHP_VERSION: input.phpVersion,
    POOL: input.pool,
  }),
  output: changed,
});

export const placePage = script({
  file: at("place-page.sh"),
  timeoutMs: 30_000,
  variables: (input: SiteNames & { file: string; content: string }) => ({
    SYSTEM_USER: input.systemUser,
    ROOT_PATH: input.rootPath,
    FILE: input.file,
    CONTENT: input.content,
  }),
  output: created,
});

export const receiveApplication = script({
  file: at("receive-application.sh"),
  timeoutMs: 1_800_000,
  variables: (
    input: SiteNames & { release: string; sha256: string; sizeBytes: number; marker: string },
  ) => ({
    SYSTEM_USER: input.systemUser,
    ROOT_PATH: input.rootPath,
    RELEASE: input.release,
    SHA256: input.sha256,
    SIZE_BYTES: String(input.sizeBytes),
    MARKER: input.marker,
  }),
  output: (fields) => ({ filesCount: fields.count("files_count") }),
});

/** What an application's own configuration needs. */
export type ApplicationInput = WithPassword<SiteNames> & {
  readonly release: string;
  readonly domain: string;
  readonly phpVersion: string;
  readonly socket: string;
};

const application = (input: ApplicationInput) => ({
  SYSTEM_USER: input.systemUser,
  ROOT_PATH: input.rootPath,
  RELEASE: input.release,
  DOMAIN: input.domain,
  PHP_VERSION: input.phpVersion,
  DB_NAME: input.databaseName,
  DB_USER: input.databaseName,
  DB_PASSWORD: input.password,
  SOCKET: input.socket,
});

export const installWordpress = script({
  file: at("install-wordpress.sh"),
  timeoutMs: 180_000,
  variables: (
    input: ApplicationInput & { adminUser: string; adminPassword: Secret; adminEmail: string },
  ) => ({
    ...application(input),
    ADMIN_USER: input.adminUser,
    ADMIN_PASSWORD: input.adminPassword,
    ADMIN_EMAIL: input.adminEmail,
  }),
  output: (fields) => ({ ...created(fields), version: fields.text("version") }),
});

export const installLaravel = script({
  file: at("install-laravel.sh"),
  timeoutMs: 60_000,
  variables: application,
  output: created,
});

export const applyVhost = script({
  file: at("apply-vhost.sh"),
  timeoutMs: 90_000,
  variables: ({ systemUser, vhost }: { systemUser: string; vhost: string }) => ({
    SYSTEM_USER: systemUser,
    VHOST: vhost,
  }),
  output: changed,
});

export const checkSite = script({
  file: at("check-site.sh"),
  timeoutMs: 60_000,
  variables: (
    input: SiteNames & {
      webRoot: string;
      domain: string;
      token: string;
      php: boolean;
      database: boolean;
    },
  ) => ({
    SYSTEM_USER: input.systemUser,
    ROOT_PATH: input.rootPath,
    WEB_ROOT: input.webRoot,
    DOMAIN: input.domain,
    TOKEN: input.token,
    PHP: yes(input.php),
    DATABASE: yes(input.database),
  }),
  output: (fields) => ({ status: fields.count("status"), database: fields.text("database") }),
});
