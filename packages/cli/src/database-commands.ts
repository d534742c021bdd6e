/** `chom backup:database …`: backups of the control plane's own databases, for the platform alone. */
import {
  CreateDatabaseBackupResponse,
  DatabaseBackup,
  DatabaseBackupStatus,
  RestoreDatabaseBackupResponse,
} from "@chom/proto/chom/backup/v1/databases";
import { Job } from "@chom/proto/chom/jobs/v1/jobs";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  groupOf,
  type JobOptions,
  leaf,
  requestIdOf,
  type Session,
  startsJob,
  wholeNumber,
} from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { endedJob, followJob, isFailed } from "./follow-job.ts";
import { type Column, size, time, word } from "./output.ts";

const columns: readonly Column<DatabaseBackup>[] = [
  ["id", ({ backupId }) => backupId],
  ["source", ({ source }) => source],
  ["engine", ({ engine }) => engine],
  ["status", ({ status, failureCode }) => (failureCode === "" ? word(status) : failureCode)],
  ["size", ({ sizeBytes }) => size(sizeBytes)],
  ["stored", ({ storedBytes }) => size(storedBytes)],
  ["tables", ({ tablesCount }) => String(tablesCount)],
  ["rows", ({ rowsCount }) => String(rowsCount)],
  ["encrypted", ({ encrypted }) => (encrypted ? "yes" : "no")],
  ["duration", ({ durationMs }) => `${(Number(durationMs) / 1_000).toFixed(1)} s`],
  ["created", ({ createdAt }) => time(createdAt)],
];
const details: readonly Column<DatabaseBackup>[] = [
  ...columns,
  ["location", ({ location, objectKey }) => (objectKey === "" ? "" : `${location}: ${objectKey}`)],
  ["sha256", ({ sha256 }) => sha256],
  ["failure", (row) => row.failureCode && `${row.failureMessage} (${row.failureCode})`],
];

type BackUpOptions = JobOptions & {
  source: string;
  encrypt?: boolean;
  upload?: boolean;
  test?: boolean;
};

/** The backups of a run, once the list has its end; as they are after 3 s otherwise. */
async function backupsOf({ clients }: Session, runId: string): Promise<DatabaseBackup[]> {
  for (let tries = 0; ; tries += 1) {
    const wish = { source: "", runId, pageSize: 500, pageToken: "", minPosition: 0n };
    const { backups } = await clients.databases().listDatabaseBackups(wish);
    const isOpen = backups.some(({ status }) => status === DatabaseBackupStatus.RUNNING);
    if ((backups.length > 0 && !isOpen) || tries >= 15) return backups;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function backUp(session: Session, options: BackUpOptions): Promise<number> {
  const { clients, output } = session;
  const answer = await clients.databases().createDatabaseBackup({
    ...{ requestId: requestIdOf(options), source: options.source, reason: options.reason ?? "" },
    plain: options.encrypt === false,
    localOnly: options.upload === false,
    untested: options.test === false,
  });
  const toJson = CreateDatabaseBackupResponse.toJSON;
  if (options.wait === false) return afterStart(session, options, answer, toJson);
  const state = await followJob(clients, answer.jobId, output);
  const backups = await backupsOf(session, answer.jobId);
  const job = output.json ? await endedJob(clients, answer.jobId) : undefined;
  if (output.json) {
    const shown = { job: job && Job.toJSON(job), backups: backups.map(DatabaseBackup.toJSON) };
    output.one({ ...(toJson(answer) as object), ...shown }, [], (row) => row);
  } else for (const backup of backups) output.one(backup, details, DatabaseBackup.toJSON);
  return isFailed(state) ? exitCodes.jobFailed : exitCodes.ok;
}

function restoreCommand(parent: Command): void {
  startsJob(
    leaf(
      parent,
      "restore <backup-id>",
      "Restore a backup into a database that is made for it; nothing that exists is touched.",
      `
chom backup:database restore 0w1… --to control_plane_restored
chom backup:database restore 0w1… --to spare/control_plane

Without CHOM, with the AGE-SECRET-KEY line of the backup key file alone in backup.key:
age -d -i backup.key dump.sql.zst.age | zstd -d | psql -X -1 -v ON_ERROR_STOP=1 new_database
age -d -i backup.key dump.sql.zst.age | zstd -d | mariadb new_database
age -d -i backup.key database.sqlite.zst.age | zstd -d > new.sqlite`,
    ),
  )
    .addOption(contextOption())
    .requiredOption("--to <[source/]database>", "the database to make; the source's own server")
    .option("--source <name>", "source of the backup; looked up when it is left out", "")
    .action((backupId: string, options: JobOptions & { to: string; source: string }) =>
      connected(options, async (session) => {
        const [targetDatabase = "", targetSource = ""] = options.to.split("/").toReversed();
        const answer = await session.clients.databases().restoreDatabaseBackup({
          ...{ requestId: requestIdOf(options), reason: options.reason ?? "", backupId },
          ...{ targetDatabase, targetSource },
          source: options.source === "" ? await sourceOf(session, backupId) : options.source,
        });
        const waits = { ...options, wait: options.wait !== false };
        return afterStart(session, waits, answer, RestoreDatabaseBackupResponse.toJSON);
      }),
    );
}

const listAll = ({ clients }: Session, source: string, limit: number) =>
  allPages(limit, async (pageToken, pageSize) => {
    const wish = { source, runId: "", pageSize, pageToken, minPosition: 0n };
    const page = await clients.databases().listDatabaseBackups(wish);
    return { rows: page.backups, nextPageToken: page.nextPageToken };
  });

/** Empty when no list knows it: the service then says what it is not. */
async function sourceOf(session: Session, backupId: string): Promise<string> {
  const found = (await listAll(session, "", 10_000)).find((row) => row.backupId === backupId);
  return found?.source ?? "unknown";
}

function add(parent: Command, name: string): void {
  const database = startsJob(
    leaf(
      parent,
      name,
      "Back up the control plane's databases: encrypted, uploaded, and tested by a restore.",
      `
chom backup:database --encrypt --upload --test
chom backup:database --source control-plane --no-test --json
chom backup:database list --source control-plane`,
    ),
  )
    .addOption(contextOption())
    .option("--source <name>", "only this source; all of them when it is left out", "")
    .option("--encrypt", "encrypt it (always, unless --no-encrypt)")
    .option("--no-encrypt", "store it readable by everyone who reads the vault; not in production")
    .option("--upload", "store it in the vault (always, unless --no-upload)")
    .option("--no-upload", "keep it in the service's local folder instead")
    .option("--test", "read it back and restore it for a test (always, unless --no-test)")
    .option("--no-test", "do not read it back and restore it for a test")
    .action((options: BackUpOptions) => connected(options, (session) => backUp(session, options)));
  restoreCommand(database);
  leaf(database, "list", "List the backups, newest first.", `chom ${name} list --limit 20`)
    .addOption(contextOption())
    .option("--source <name>", "only of this source", "")
    .option("--limit <n>", "at most so many", wholeNumber, 100)
    .action((options: { json?: boolean; source: string; limit: number }) =>
      connected(options, async (session) => {
        const rows = await listAll(session, options.source, options.limit);
        session.output.many(rows, columns, DatabaseBackup.toJSON);
      }),
    );
}

/** Adds `backup:database`, also as `backup database`. */
export function databaseCommands(program: Command): void {
  add(program, "backup:database");
  add(groupOf(program, "backup"), "database");
}
