/** `backup.verify`: reads a point back from the vault, decrypts it and compares every hash and count with its manifest. */
import { VerifyBackupInput } from "@chom/proto/chom/backup/v1/events";
import { classify } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import { checkArchive } from "./archive.ts";
import { backups, type Verified } from "./backups.ts";
import { findPoint, type PointDeps, readManifest } from "./read-point.ts";

/** These say that the point itself is bad; anything else says that it could not be read now. */
const damage = new Set([
  "checksum-mismatch",
  "archive-not-authentic",
  "archive-unsafe",
  "dump-incomplete",
  "manifest-invalid",
  "foreign-manifest",
  "object-missing",
]);

export const verifyBackup = (deps: PointDeps) =>
  job(backups, {
    name: "backup.verify",
    input: VerifyBackupInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    done: "endVerification",
    failed: "noteNothing",
    cancelled: "noteNothing",
    queue: "low",
    tries: 3,
    timeoutMs: 6 * 3_600_000,
    backoffMs: [120_000],
    exclusive: ({ backupId }) => [`backup.${backupId}`],

    async work({ siteId, backupId }, run): Promise<Verified> {
      const id = { tenant: run.tenant, siteId, backupId };
      const point = await findPoint(deps.load, id);
      try {
        const manifest = await readManifest(deps, id, point, run.signal);
        let bytesRead = 0;
        for (const component of manifest.components) {
          const check = (signal: AbortSignal) => checkArchive({ ...deps, component, signal });
          bytesRead += await run.step(`read the ${component.name} back`, check);
        }
        return { bytesRead, problem: null };
      } catch (error) {
        const { code, message } = classify(error);
        if (!damage.has(code)) throw error;
        return { bytesRead: 0, problem: { code, message } };
      }
    },
  });
