/** The cleanings of one tenant: what each of them deleted and freed. */
import { BackupsCleaned, type CleanBackupsInput } from "@chom/proto/chom/backup/v1/database_events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Done } from "@chom/shared/job/job";

const happened = eventTypes({ BackupsCleaned });
/** The last twenty, newest last. */
export type Cleanings = { readonly recent: readonly BackupsCleaned[] };
const remembered = 20;

const evolve: Evolve<Cleanings, typeof happened> = {
  BackupsCleaned: ({ recent }, cleaned) => ({ recent: [...recent, cleaned].slice(-remembered) }),
};

const commands = {
  report: ({ recent }: Cleanings, cleaned: BackupsCleaned) =>
    recent.some(({ jobId }) => jobId === cleaned.jobId) ? [] : happened.BackupsCleaned(cleaned),
  /** Everything was reported while it ran. */
  end: (_state: Cleanings, _report: Done<CleanBackupsInput, { deleted: number }>) => [],
  noteNothing: () => [],
};

export const cleanings = aggregate({
  name: "backup-cleaning",
  events: happened,
  initial: (): Cleanings => ({ recent: [] }),
  evolve,
  commands,
});

/** A tenant has one history of cleanings. */
export const cleaningsId = "all";
