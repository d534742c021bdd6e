/** `chom backup …`: recovery points of sites. */
import {
  Backup,
  BackupKind,
  CreateBackupResponse,
  RestoreBackupResponse,
  VerifyBackupResponse,
} from "@chom/proto/chom/backup/v1/backup";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  type JobOptions,
  leaf,
  member,
  requestIdOf,
  startsJob,
  wholeNumber,
} from "./command.ts";
import { type Column, size, time, word } from "./output.ts";

const columns: readonly Column<Backup>[] = [
  ["id", ({ backupId }) => backupId],
  ["site", ({ siteId }) => siteId],
  ["kind", ({ kind }) => word(kind)],
  ["status", ({ status }) => word(status)],
  ["size", ({ sizeBytes }) => size(sizeBytes)],
  ["created", ({ createdAt }) => time(createdAt)],
];
const details: readonly Column<Backup>[] = [
  ...columns,
  ["stored", ({ storedBytes }) => size(storedBytes)],
  ["files", ({ filesCount }) => String(filesCount)],
  ["tables", ({ tablesCount }) => String(tablesCount)],
  ["verified", ({ verifiedAt }) => time(verifiedAt)],
  ["kept until", ({ keepUntil }) => time(keepUntil)],
  ["manifest", ({ manifestKey }) => manifestKey],
  ["safety point", ({ safetyPoint }) => (safetyPoint ? "yes" : "")],
  ["suspicious", ({ suspicious }) => (suspicious ? "its size is far from usual" : "")],
  ["failure", (row) => row.failureCode && `${row.failureMessage} (${row.failureCode})`],
];

type CreateOptions = JobOptions & { kind: BackupKind; keepDays: number };

function createCommand(backup: Command): void {
  startsJob(
    leaf(
      backup,
      "create <site-id>",
      "Back a site up.",
      `
chom backup create 0v9…
chom backup create 0v9… --kind database --keep-days 365 --reason "before the migration"`,
    ),
  )
    .addOption(contextOption())
    .option(
      "--kind <kind>",
      "full, files or database",
      (text) => member(BackupKind, text),
      BackupKind.FULL,
    )
    .option("--keep-days <n>", "keep at least so long; 0 leaves it to retention", wholeNumber, 0)
    .action((siteId: string, options: CreateOptions) =>
      connected(options, async (session) => {
        const answer = await session.clients.backup().createBackup({
          ...{ requestId: requestIdOf(options), siteId, kind: options.kind },
          ...{ retentionDays: options.keepDays, reason: options.reason ?? "" },
        });
        return afterStart(session, options, answer, CreateBackupResponse.toJSON);
      }),
    );
}

type RestoreOptions = JobOptions & { acceptNoSafety?: boolean };

function restoreCommand(backup: Command): void {
  startsJob(
    leaf(
      backup,
      "restore <site-id> <backup-id>",
      "Bring a site back to a recovery point. A safety point of the present state is made first.",
      "chom backup restore 0v9… 0w1… --yes",
    ),
  )
    .addOption(contextOption())
    .requiredOption("--yes", "really: what changed since that point is replaced")
    .option("--accept-no-safety", "go on although no safety point can be made")
    .action((siteId: string, backupId: string, options: RestoreOptions) =>
      connected(options, async (session) => {
        const answer = await session.clients.backup().restoreBackup({
          ...{ requestId: requestIdOf(options), siteId, backupId, reason: options.reason ?? "" },
          acceptNoSafety: options.acceptNoSafety ?? false,
        });
        return afterStart(session, options, answer, RestoreBackupResponse.toJSON);
      }),
    );
}

/** Adds the group to the program. */
export function backupCommands(program: Command): void {
  const backup = program.command("backup").description("recovery points of sites");
  createCommand(backup);
  restoreCommand(backup);
  startsJob(
    leaf(
      backup,
      "verify <site-id> <backup-id>",
      "Read a point back, decrypt it and compare every hash.",
      "chom backup verify 0v9… 0w1…",
    ),
  )
    .addOption(contextOption())
    .action((siteId: string, backupId: string, options: JobOptions) =>
      connected(options, async (session) => {
        const wish = { requestId: requestIdOf(options), siteId, backupId };
        const answer = await session.clients.backup().verifyBackup(wish);
        return afterStart(session, options, answer, VerifyBackupResponse.toJSON);
      }),
    );
  leaf(backup, "list", "List the recovery points.", "chom backup list --site 0v9…")
    .addOption(contextOption())
    .option("--site <site-id>", "only of this site", "")
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: { json?: boolean; limit: number; site: string }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const wish = { siteId: options.site, pageSize, pageToken, minPosition: 0n };
          const page = await clients.backup().listBackups(wish);
          return { rows: page.backups, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Backup.toJSON);
      }),
    );
  leaf(backup, "show <backup-id>", "Show one recovery point.", "chom backup show 0w1…")
    .addOption(contextOption())
    .action((backupId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.backup().getBackup({ backupId, minPosition: 0n });
        output.one(Backup.fromPartial(answer.backup ?? {}), details, Backup.toJSON);
      }),
    );
}
