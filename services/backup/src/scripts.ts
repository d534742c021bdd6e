/** The shell scripts of this family, with what goes in and what comes out. */
import { failureOf } from "@chom/shared/failure/failure";
import { type Fields, script } from "@chom/shared/script/script";
import type { TableRows } from "./manifest.ts";

const file = (name: string): URL => new URL(`./scripts/${name}`, import.meta.url);
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** Where a site lives on its server. */
export type Place = { systemUser: string; rootPath: string; databaseName: string };
/** A restore in that place; the parts that the archive does not hold stay untouched. */
export type Staging = Place & {
  restoreId: string;
  hasFiles: boolean;
  hasDatabase: boolean;
  phpVersion: string;
};

const yesNo = (value: boolean): string => (value ? "yes" : "no");
const site = ({ systemUser, rootPath, databaseName }: Place) => ({
  site_user: systemUser,
  root_path: rootPath,
  database_name: databaseName,
});
const staging = ({ restoreId, hasFiles, hasDatabase, phpVersion, ...place }: Staging) => ({
  ...site(place),
  restore_id: restoreId,
  has_files: yesNo(hasFiles),
  has_database: yesNo(hasDatabase),
  php_version: phpVersion,
});

/** `<hex of name>:<rows>` lines; names byte for byte (latin1), sorted, as a dump's census has them. */
function tablesOf(fields: Fields): TableRows[] {
  const tables = fields.lines("table").map((line) => {
    const [, hex, rows] = /^((?:[0-9A-Fa-f]{2})+):(\d+)$/.exec(line) ?? [];
    if (!hex || !rows) throw failureOf("protocol-error", "a table's line is malformed");
    return { name: Buffer.from(hex, "hex").toString("latin1"), rows: Number(rows) };
  });
  return tables.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const measureSite = script({
  file: file("measure-site.sh"),
  timeoutMs: 5 * minuteMs,
  variables: site,
  output: (fields) => ({
    filesBytes: fields.count("files_bytes"),
    databaseBytes: fields.count("database_bytes"),
    freeBytes: fields.count("free_bytes"),
    databaseFreeBytes: fields.count("database_free_bytes"),
    engine: fields.text("engine"),
  }),
});

export const archiveFiles = script({
  file: file("archive-files.sh"),
  timeoutMs: 24 * hourMs,
  variables: ({ systemUser, rootPath }: Place) => ({ site_user: systemUser, root_path: rootPath }),
  output: (fields) => ({
    changed: fields.flag("changed"),
    tarVersion: fields.text("tar_version"),
  }),
});

export const dumpDatabase = script({
  file: file("dump-database.sh"),
  timeoutMs: 24 * hourMs,
  variables: ({ databaseName }: Place) => ({ database_name: databaseName }),
  output: (fields) => ({
    tool: fields.text("tool"),
    engine: fields.text("engine"),
    consistent: fields.flag("consistent"),
    liveTables: tablesOf(fields),
  }),
});

export const prepareStaging = script({
  file: file("prepare-staging.sh"),
  timeoutMs: 10 * minuteMs,
  variables: ({ neededBytes, ...rest }: Staging & { neededBytes: number }) => ({
    ...staging(rest),
    needed_bytes: String(Math.ceil(neededBytes)),
  }),
  output: () => undefined,
});

export const stageFiles = script({
  file: file("stage-files.sh"),
  timeoutMs: 24 * hourMs,
  variables: ({ systemUser, rootPath }: Place) => ({ site_user: systemUser, root_path: rootPath }),
  output: (fields) => ({
    entries: fields.count("entries"),
    linksLeftOut: fields.count("links_left_out"),
  }),
});

export const stageDatabase = script({
  file: file("stage-database.sh"),
  timeoutMs: 24 * hourMs,
  variables: ({ systemUser, databaseName }: Place) => ({
    site_user: systemUser,
    database_name: databaseName,
  }),
  output: (fields) => ({ tables: tablesOf(fields) }),
});

export const closeSite = script({
  file: file("close-site.sh"),
  timeoutMs: minuteMs,
  variables: ({ systemUser }: Place) => ({ site_user: systemUser }),
  output: () => undefined,
});

export const swapIn = script({
  file: file("swap-in.sh"),
  timeoutMs: 15 * minuteMs,
  variables: staging,
  output: () => undefined,
});

export const swapBack = script({
  file: file("swap-back.sh"),
  timeoutMs: 15 * minuteMs,
  variables: staging,
  output: () => undefined,
});

export const smokeTest = script({
  file: file("smoke-test.sh"),
  timeoutMs: 3 * minuteMs,
  variables: ({ systemUser, domain, databaseName }: Place & { domain: string }) => ({
    site_user: systemUser,
    domain,
    database_name: databaseName,
  }),
  output: (fields) => ({ status: fields.count("status") }),
});

/** With `isConfirmed` the restore is good, and nothing can swap back any more. */
export const discardStaging = script({
  file: file("discard-staging.sh"),
  timeoutMs: hourMs,
  variables: ({ isConfirmed, ...rest }: Staging & { isConfirmed: boolean }) => {
    const { site_user, root_path, database_name, restore_id } = staging(rest);
    return { site_user, root_path, database_name, restore_id, confirm: yesNo(isConfirmed) };
  },
  output: () => undefined,
});
