/** The scripts that take a site off a server; each finds nothing to do the second time. */
import { type Fields, script } from "@chom/shared/script/script";
import type { SiteNames } from "./names.ts";

const at = (name: string): URL => new URL(`./scripts/${name}`, import.meta.url);
const removed = (fields: Fields) => ({ removed: fields.flag("removed") });
const user = ({ systemUser }: SiteNames) => ({ SYSTEM_USER: systemUser });

export const removeVhost = script({
  file: at("remove-vhost.sh"),
  timeoutMs: 90_000,
  variables: user,
  output: removed,
});

export const removePhpPool = script({
  file: at("remove-php-pool.sh"),
  timeoutMs: 90_000,
  variables: user,
  output: removed,
});

/** `databaseName` may be empty: then only files are moved. */
export const quarantineFiles = script({
  file: at("quarantine-files.sh"),
  timeoutMs: 3_600_000,
  variables: (input: SiteNames & { run: string; keepDays: number }) => ({
    SYSTEM_USER: input.systemUser,
    ROOT_PATH: input.rootPath,
    DB_NAME: input.databaseName,
    RUN: input.run,
    KEEP_DAYS: String(input.keepDays),
  }),
  output: (fields) => ({ moved: fields.flag("moved"), path: fields.text("path") }),
});

export const removeDatabase = script({
  file: at("remove-database.sh"),
  timeoutMs: 120_000,
  variables: ({ systemUser, databaseName }: SiteNames) => ({
    SYSTEM_USER: systemUser,
    DB_NAME: databaseName,
    DB_USER: databaseName,
  }),
  output: removed,
});

export const removeSiteUser = script({
  file: at("remove-site-user.sh"),
  timeoutMs: 60_000,
  variables: user,
  output: removed,
});

export const checkSiteGone = script({
  file: at("check-site-gone.sh"),
  timeoutMs: 30_000,
  variables: ({ systemUser, rootPath, databaseName }: SiteNames) => ({
    SYSTEM_USER: systemUser,
    ROOT_PATH: rootPath,
    DB_NAME: databaseName,
  }),
  output: () => undefined,
});
