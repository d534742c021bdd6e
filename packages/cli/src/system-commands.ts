/** `chom system …`: backing up CHOM itself, and putting it back after its broker and its database are gone. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Secret } from "@chom/shared/secrets/secret";
import { type BrokerOptions, broker, withBroker } from "./broker-options.ts";
import { groupOf, leaf, reporting } from "./command.ts";
import { secretFrom } from "./secret-input.ts";
import { backUp, keptApart } from "./system-backup.ts";
import { restore } from "./system-restore.ts";

type DatabaseOptions = { postgresUrlFile: string; databaseTools: string };
type BackupOptions = BrokerOptions & DatabaseOptions & { recipient: readonly string[] };
type RestoreOptions = BrokerOptions &
  DatabaseOptions & { identityFile: string; archivistSeedFile: string; replicas: 1 | 3 };

const placeOf = ({ postgresUrlFile, databaseTools }: DatabaseOptions) => ({
  url: secretFrom(postgresUrlFile),
  tools: databaseTools,
});

const withDatabase = (command: Command): Command =>
  broker(command)
    .requiredOption("--postgres-url-file <file>", "a file with the URL of who owns the database")
    .addOption(
      new Option(
        "--database-tools <folder>",
        "where pg_dump, pg_restore and psql are, if not in PATH",
      )
        .env("CHOM_DATABASE_TOOLS")
        .default(""),
    );

/** What `age-keygen` or `make-keys` wrote, comments and all. */
function identityFrom(file: string): Secret {
  const lines = secretFrom(file).reveal().split("\n");
  const found = lines.find((line) => line.startsWith("AGE-SECRET-KEY-"));
  if (found === undefined) throw new InvalidArgumentError(`${file} holds no age identity`);
  return new Secret(found.trim());
}

const collected = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  value,
];

function replicas(text: string): 1 | 3 {
  if (text !== "1" && text !== "3") throw new InvalidArgumentError("must be 1 or 3");
  return text === "1" ? 1 : 3;
}

const example =
  "--nats-url nats://127.0.0.1:4222 --seed-file topology.nk --postgres-url-file owner.url";

function backupCommand(group: Command): void {
  withDatabase(
    leaf(
      group,
      "backup",
      "Copy streams, buckets and the database into a new folder, sealed with age. Services may go on meanwhile.",
      `chom system backup /backups/chom-1 ${example} --recipient age1…`,
    ),
  )
    .argument("<folder>", "made by this; its parent must be there")
    .requiredOption("--recipient <age1…>", "who may open it; may repeat", collected, [])
    .action((folder: string, options: BackupOptions) =>
      reporting(options, async (output) => {
        const manifest = await withBroker("topology", options, (nats) =>
          backUp(
            {
              ...{ nats, place: placeOf(options), recipients: options.recipient },
              ...{ now: () => new Date(), told: output.note },
            },
            folder,
          ),
        );
        output.note("keep apart, for they are not in it:");
        for (const each of keptApart) output.note(`  ${each}`);
        output.each(
          manifest,
          ({ madeAt, streams }) =>
            `backed up as of ${madeAt}: ${streams.length} streams and the database`,
          (made) => made,
        );
      }),
    );
}

function restoreCommand(group: Command): void {
  withDatabase(
    leaf(
      group,
      "restore",
      "Verify a backup and put it back into an empty broker and an empty database; refused when anything is there.",
      `chom system restore /backups/chom-1 ${example} --identity-file backup.key --archivist-seed-file archivist.nk`,
    ),
  )
    .argument("<folder>", "as `chom system backup` made it")
    .requiredOption("--identity-file <file>", "the age identity of a recipient; - reads stdin")
    .requiredOption("--archivist-seed-file <file>", "nkey seed of the user archivist")
    .option("--replicas <n>", "of each stream: 1 on a laptop, 3 in production", replicas, 1)
    .action((folder: string, options: RestoreOptions) =>
      reporting(options, async (output) => {
        const identity = identityFrom(options.identityFile);
        const seedFile = options.archivistSeedFile;
        const place = placeOf(options);
        const manifest = await withBroker("topology", options, (nats) =>
          withBroker("archivist", { ...options, seedFile }, (archivist) =>
            restore(
              {
                ...{ nats, archivist, place, identity, replicas: options.replicas },
                ...{ nowMs: Date.now(), told: output.note },
              },
              folder,
            ),
          ),
        );
        output.note(
          "now start the services, then: chom projections rebuild --all, chom doctor --fix",
        );
        output.each(
          manifest,
          ({ madeAt }) => `CHOM is as it was at ${madeAt}`,
          (made) => made,
        );
      }),
    );
}

/** Adds the group `system`. */
export function systemCommands(program: Command): void {
  const group = groupOf(
    program,
    "system",
    "CHOM itself: a copy of all that it knows, and putting it back",
  );
  backupCommand(group);
  restoreCommand(group);
}
