/** The regular work of retention: archive what ended, prune what is old, forget what failed long ago. */
import { connectNats, type Nats } from "@chom/shared/event-log/nats";
import { purgeJournal } from "@chom/shared/event-log/purge";
import type { Secret } from "@chom/shared/secrets/secret";
import type { App, Tick } from "@chom/shared/service/app";
import { commonReaders } from "@chom/shared/service/common-settings";
import { durationMs, secretFile, type Values } from "@chom/shared/service/settings";
import { inboxPrefix } from "@chom/shared/topology/names";
import { pruneFailed } from "../failed-jobs.ts";
import { dropOld, historyStore } from "./history-store.ts";
import { archiveEnded, type HistoryPorts, pruneArchived } from "./retention.ts";

const dayMs = 86_400_000;
const longestMs = 36_500 * dayMs;

/** Settings of retention; the broker's address is the common one. */
export const historyReaders = {
  natsUrl: commonReaders.natsUrl,
  natsCaFile: commonReaders.natsCaFile,
  /** nkey seed of the broker's user `pruner`. Without it nothing is pruned, so give it to at least one replica. */
  prunerSeed: secretFile("CHOM_PRUNER_SEED_FILE", { fallback: undefined }),
  /** How long an ended journal stays in the broker. */
  journalRetentionMs: durationMs("CHOM_JOURNAL_RETENTION", {
    ...{ min: 1_000, max: longestMs, fallback: 30 * dayMs },
  }),
  /** How long a failed job waits for a person before it is taken off the list. */
  failedRetentionMs: durationMs("CHOM_FAILED_RETENTION", {
    ...{ min: 1_000, max: longestMs, fallback: 30 * dayMs },
  }),
  /** How long a pruned job can still be found and shown. */
  jobsRetentionMs: durationMs("CHOM_JOBS_RETENTION", {
    ...{ min: 1_000, max: longestMs, fallback: 365 * dayMs },
  }),
} as const;

export type HistorySettings = Values<typeof historyReaders>;

const connectPruner = (settings: HistorySettings, seed: Secret): Promise<Nats> =>
  connectNats({
    ...{ servers: settings.natsUrl, name: "pruner", seed, inboxPrefix: inboxPrefix("pruner") },
    caFile: settings.natsCaFile,
  });

/** What retention works on; without a pruner's connection purging fails. */
export const historyPorts = (app: App, pruner: Nats | undefined): HistoryPorts => ({
  now: app.now,
  store: historyStore(app.db, app.now),
  journals: {
    load: (subject) => app.log.load("JOURNAL", subject),
    epoch: () => app.log.epoch("JOURNAL"),
    async purge(subject, through) {
      if (!pruner) throw new TypeError("nobody may purge here");
      await purgeJournal(pruner, subject, through);
    },
  },
});

/** The ticks of retention, and how to end their connection. */
export async function keepHistory(
  app: App,
  settings: HistorySettings,
): Promise<{ ticks: readonly Tick[]; close: () => Promise<void> }> {
  const { prunerSeed, journalRetentionMs, failedRetentionMs, jobsRetentionMs } = settings;
  const pruner = prunerSeed ? await connectPruner(settings, prunerSeed) : undefined;
  if (!pruner) app.logger.warn("CHOM_PRUNER_SEED_FILE is not set: journals are not pruned here");
  const ports = historyPorts(app, pruner);
  const archive: Tick = {
    name: "archive",
    everyMs: 5_000,
    run: async () => void (await archiveEnded(ports)),
  };
  const forget: Tick = {
    name: "prune-failed",
    everyMs: 3_600_000,
    run: async () => void (await pruneFailed(app, failedRetentionMs)),
  };
  const prune: Tick = {
    name: "prune",
    everyMs: 60_000,
    async run() {
      const pruned = await pruneArchived(ports, journalRetentionMs);
      const before = new Date(app.now().getTime() - Math.max(jobsRetentionMs, journalRetentionMs));
      const dropped = await dropOld(app.db, before);
      if (pruned + dropped > 0) app.logger.info({ pruned, dropped }, "old journals were pruned");
    },
  };
  return {
    ticks: pruner ? [archive, forget, prune] : [archive, forget],
    close: async () => pruner?.close(),
  };
}
