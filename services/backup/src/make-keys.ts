/** Prints a new backup key file: `node services/backup/src/make-keys.ts > backup.key` (with umask 077). */
import { makeBackupKeys } from "./backup-keys.ts";

process.stdout.write(makeBackupKeys().reveal());
