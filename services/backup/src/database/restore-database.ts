/** `backup.restore-database`: a backup of a database into one that is made for it. Nothing that exists is touched. */
import { RestoreDatabaseInput } from "@chom/proto/chom/backup/v1/database_events";
import { failureOf } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import { databaseBackups } from "./database-backups.ts";
import { checkWish } from "./back-up-database.ts";
import {
  type DatabaseDeps,
  findDatabaseBackup,
  readDatabaseManifest,
  toolsOf,
  withFolder,
} from "./database-deps.ts";
import { databaseNameProblem } from "@chom/shared/input/names";
import { findSource } from "./database-sources.ts";
import { mustBeSame, openDump } from "./store-dump.ts";

export const restoreDatabase = (deps: DatabaseDeps) =>
  job(databaseBackups, {
    name: "backup.restore-database",
    input: RestoreDatabaseInput,
    of: ({ source }) => source,
    done: "completeRestore",
    failed: "failRestore",
    cancelled: "abandonRestore",
    queue: "default",
    tries: 2,
    timeoutMs: 6 * 3_600_000,
    backoffMs: [60_000],
    exclusive: ({ source }) => [`database.${source}`],

    async work(input, run) {
      const { source, backupId, targetDatabase } = input;
      checkWish(deps, run.tenant, { plain: false });
      if (databaseNameProblem(targetDatabase)) {
        throw failureOf("invalid-config", "the name of the database to make is not acceptable");
      }
      const { place } = findSource(deps.sources, input.targetSource || source);
      const point = await findDatabaseBackup(deps.load, source, backupId);
      const manifest = await run.step("read the manifest", (signal) =>
        readDatabaseManifest(deps, source, point, signal),
      );
      if (manifest.engine !== place.engine) {
        const what = `a backup of ${manifest.engine} does not go into ${place.engine}`;
        throw failureOf("incompatible-engine", what);
      }
      const tools = toolsOf(place.engine);
      await run.step(
        "make the database",
        (signal) => withFolder(deps, signal, (use) => tools.create(place, targetDatabase, use)),
        {
          undo: (_, { signal }) =>
            withFolder(deps, signal, (use) => tools.drop(place, targetDatabase, use)),
        },
      );
      // What a dead attempt of ours began is no start: the name is ours, so it is made anew.
      return run.step("restore and count", (signal) =>
        withFolder(deps, signal, async (use) => {
          await tools.drop(place, targetDatabase, use);
          await tools.create(place, targetDatabase, use);
          const { location } = point;
          const content = await openDump(deps, manifest, { ...manifest, location }, signal);
          await tools.restore(place, targetDatabase, content, use);
          const found = await tools.count(place, targetDatabase, use);
          mustBeSame(manifest, found);
          return found;
        }),
      );
    },
  });
