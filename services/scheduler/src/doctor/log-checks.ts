/** The doctor's look at the event log, its archive, the audit and what was quarantined. */
import { api, valueOf } from "@chom/shared/event-log/nats";
import type { App } from "@chom/shared/service/app";
import type { Diagnosis, DoctorCheck } from "@chom/shared/service/doctor/check";
import { sql } from "drizzle-orm";
import { closeLosses, disputes, missingCount, openLosses } from "../archive/archive-store.ts";
import { checkArchive } from "../archive/check-archive.ts";
import { anchorAudit, auditProblems, unanchored } from "../audit/anchors.ts";

const runbook = "docs/runbooks/event-log-damaged.md";

const lostCheck = ({ db }: App): DoctorCheck => ({
  name: "event-log-lost",
  async run() {
    const missing = await missingCount(db);
    if (missing === 0) return [];
    return [
      {
        subject: "EVENTS",
        severity: "critical",
        message: `the broker has lost ${missing} events that the archive still has`,
        remedy: `write them back with \`chom archive repair\` (${runbook})`,
      },
    ];
  },
});

const disputeCheck = ({ db }: App): DoctorCheck => ({
  name: "event-log-disputed",
  run: async () =>
    (await disputes(db)).map(({ subject, events }) => ({
      subject,
      severity: "critical",
      message: `log and archive tell different stories of this history (${events} events wait)`,
      remedy: `look at both sides and decide with \`chom archive accept-log\` (${runbook})`,
    })),
});

const lossCheck = ({ db, now }: App): DoctorCheck => ({
  name: "event-log-loss",
  run: async () =>
    (await openLosses(db)).map(({ id, wholeUntil, archivedUntil, foundAt }) => ({
      subject: `loss-${id}`,
      severity: "critical",
      message: `at ${foundAt.toISOString()} the log ended at ${wholeUntil} and had been read up to ${archivedUntil}: read models may have skipped what came at these positions since`,
      remedy:
        "after the events are back, rebuild the read models of every service, then close this",
      async mend() {
        const missing = await missingCount(db);
        if (missing > 0) return `${missing} events are still missing: nothing was closed`;
        await closeLosses(db, now());
        return "closed";
      },
    })),
});

/** The whole comparison may take longer than a doctor's visit. */
const compareMs = 10_000;

const archiveCheck = (app: App): DoctorCheck => ({
  name: "event-archive",
  async run() {
    const found: Diagnosis[] = [];
    const signal = AbortSignal.timeout(compareMs);
    const complete = async () => {
      let mended = 0;
      for await (const step of checkArchive(app, { complete: true })) {
        if (step.found?.repaired) mended += 1;
      }
      return `${mended} rows of the archive were mended from the log`;
    };
    for await (const step of checkArchive(app, { complete: false, signal })) {
      const { kind, subject, version, detail } = step.found ?? {};
      if (kind === undefined || kind === "missing-in-log" || kind === "different") continue;
      const isMendable = kind === "missing-in-archive" || kind === "row-changed";
      found.push({
        subject: `${subject} ${version}`,
        severity: "critical",
        message: `${kind}: ${detail}`,
        remedy: isMendable ? "mend the archive from the log" : `see ${runbook}`,
        ...(isMendable ? { mend: complete } : {}),
      });
    }
    return found;
  },
});

const grantCheck = ({ db }: App): DoctorCheck => ({
  name: "archive-grants",
  async run() {
    const [row] = (await db.execute(
      sql`select has_table_privilege('scheduler.event_archive', 'delete, update, truncate') as may`,
    )) as unknown as { may: boolean }[];
    if (!row?.may) return [];
    return [
      {
        subject: "scheduler.event_archive",
        severity: "warning",
        message: "the service may change or delete archived events",
        remedy:
          "run `main.ts migrate` of scheduler: it leaves the service what the tables' owner may, and no more",
      },
    ];
  },
});

const auditCheck = (app: App): DoctorCheck => ({
  name: "audit-chain",
  run: async () =>
    (await auditProblems(app)).map(({ chain, problem }) => ({
      subject: chain,
      severity: "critical",
      message: `the audit of ${chain} is not as it was written: ${problem}`,
      remedy:
        "see docs/runbooks/audit-broken.md: keep everything as it is and look who could write",
    })),
});

const anchorCheck = (app: App): DoctorCheck => ({
  name: "audit-anchor",
  run: async () =>
    (await unanchored(app)).map((chain) => ({
      subject: chain,
      severity: "warning",
      message:
        "the audit's head was not written down for an hour: what came since could be cut off",
      remedy: "write it down now",
      async mend() {
        await anchorAudit(app);
        return "the heads were written down";
      },
    })),
});

const quarantineCheck = ({ nats }: App): DoctorCheck => ({
  name: "quarantine",
  async run() {
    type Info = { state: { messages: number; subjects?: Record<string, number> } };
    const ask = { subjects_filter: ">" };
    const info = valueOf(await api<Info>(nats, "STREAM.INFO.QUARANTINE", ask), "looking");
    return Object.entries(info.state.subjects ?? {}).map(([subject, messages]) => ({
      subject,
      severity: "warning",
      message: `${messages} messages could not be digested and were set aside`,
      remedy: "see docs/runbooks/quarantine.md",
    }));
  },
});

export const logChecks = (app: App): DoctorCheck[] => [
  lostCheck(app),
  disputeCheck(app),
  lossCheck(app),
  archiveCheck(app),
  grantCheck(app),
  auditCheck(app),
  anchorCheck(app),
  quarantineCheck(app),
];
