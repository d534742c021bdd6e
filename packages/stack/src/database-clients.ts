/** Client programs of databases, as a machine with backups has them: a folder for CHOM_DATABASE_TOOLS. */
import { join } from "node:path";
import { type DebianPrograms, ensureDebianPrograms, ownSuite } from "./debian-programs.ts";
import type { Progress } from "./progress.ts";

/** The first suite with clients as new as the embedded server, which older ones refuse to dump. */
const postgres: DebianPrograms = {
  name: "postgres-client",
  suite: "forky",
  packages: ["postgresql-client-18"],
  programs: ["pg_dump", "psql", "pg_restore"].map((name) => `usr/lib/postgresql/18/bin/${name}`),
};

export const mariadbPrograms = (): DebianPrograms => ({
  name: "mariadb",
  suite: ownSuite(),
  packages: ["mariadb-server-core", "mariadb-client"],
  programs: ["usr/sbin/mariadbd", "usr/bin/mariadb", "usr/bin/mariadb-dump"],
});

/** Folder with pg_dump and psql 18. Fails with `tool-missing`. */
export const postgresClients = async (progress: Progress): Promise<string> =>
  join(await ensureDebianPrograms(postgres, progress), "bin");
