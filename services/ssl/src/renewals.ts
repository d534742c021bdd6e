/** The sweep that keeps certificates alive: dispatches renewals that are due and asks the CA when the others are. */
import { hashId } from "@chom/shared/aggregate/id";
import { classify } from "@chom/shared/failure/failure";
import type { App, Tick } from "@chom/shared/service/app";
import { and, asc, gt, lte, ne } from "drizzle-orm";
import type { AcmeClient } from "./acme/client.ts";
import { certificate } from "./certificate.ts";
import type { RenewCertificate } from "./renew-certificate.ts";
import { planRenewal, renewalDay, renewalJobId, spreadOf } from "./renewal-policy.ts";
import { certificates } from "./tables.ts";

type Row = typeof certificates.$inferSelect;
type Sweep = Pick<App, "db" | "dispatch" | "handle" | "logger" | "now">;

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const everyMs = 60_000;
const dueAtOnce = 100;
const askedAtOnce = 50;
const listedAtOnce = 500;

/** Dispatches what is due; ids already dispatched by this process are not sent again. */
async function dispatchDue(app: Sweep, renew: RenewCertificate, known: Set<string>): Promise<void> {
  const now = app.now();
  const due = await app.db
    .select()
    .from(certificates)
    .where(and(ne(certificates.serial, ""), lte(certificates.renewAt, now)))
    .orderBy(asc(certificates.notAfter))
    .limit(listedAtOnce);
  const news = due
    .map((row) => {
      return { row, jobId: renewalJobId(row, renewalDay(row.renewAt ?? now, now)) };
    })
    .filter(({ jobId }) => !known.has(jobId));
  if (known.size > 100_000) known.clear();
  for (const { row, jobId } of news.slice(0, dueAtOnce)) {
    const { tenant, siteId, domain, serverId, serial, ariId } = row;
    const input = { siteId, domain, serverId, serial, ariId, force: false };
    try {
      await app.dispatch({ job: renew, jobId, input, tenant, actor: "ssl" });
      known.add(jobId);
    } catch (error) {
      // One site's trouble never holds up the others; the next sweep dispatches it again.
      const { code, message } = classify(error);
      app.logger.error({ siteId, code, message }, "renewal not dispatched");
    }
  }
}

/** Asks the CA about one certificate and records its advice; answers when to ask again. */
async function askOne(app: Sweep, ca: AcmeClient, row: Row, signal: AbortSignal): Promise<number> {
  const { tenant, siteId, ariId, notBefore, notAfter } = row;
  const info = await ca.renewalInfo(ariId, signal);
  if (info === null || !notBefore || !notAfter) return dayMs;
  const plan = planRenewal({ notBefore, notAfter }, info.window, spreadOf(ariId));
  if (plan.renewAt.getTime() !== row.renewAt?.getTime()) {
    const eventSeed = hashId("plan", tenant, siteId, row.serial, plan.renewAt.getTime());
    const cause = { tenant, actor: "ssl", eventSeed };
    await app.handle(certificate, siteId, "plan", { siteId, ...plan }, cause);
  }
  return info.askAgainMs;
}

/** When each certificate is to be asked about next, by its ARI id; lost with the process, then all are asked again. */
type Asked = Map<string, number>;

async function askAll(
  app: Sweep,
  ca: AcmeClient,
  asked: Asked,
  signal: AbortSignal,
): Promise<void> {
  const now = app.now();
  const rows = await app.db
    .select()
    .from(certificates)
    .where(and(ne(certificates.ariId, ""), gt(certificates.renewAt, now)))
    .orderBy(asc(certificates.renewAt));
  const live = new Set(rows.map(({ ariId }) => ariId));
  for (const ariId of asked.keys()) if (!live.has(ariId)) asked.delete(ariId);
  const ready = rows.filter(({ ariId }) => (asked.get(ariId) ?? 0) <= now.getTime());
  for (const row of ready.slice(0, askedAtOnce)) {
    signal.throwIfAborted();
    try {
      asked.set(row.ariId, now.getTime() + (await askOne(app, ca, row, signal)));
    } catch (error) {
      signal.throwIfAborted();
      // The planned time stays as it is.
      const { code, message, retryAfterMs } = classify(error);
      app.logger.warn({ siteId: row.siteId, code, message }, "renewal information not available");
      asked.set(row.ariId, now.getTime() + Math.max(retryAfterMs ?? 0, hourMs));
    }
  }
}

/** Runs every minute; asks about a certificate as often as the CA wants (6 h without advice, 24 h at most). */
export function renewalSweep(
  app: Sweep,
  { ca, renew }: { ca: AcmeClient; renew: RenewCertificate },
): Tick {
  const dispatched = new Set<string>();
  const asked: Asked = new Map();
  return {
    name: "renewals",
    everyMs,
    async run(signal) {
      await dispatchDue(app, renew, dispatched);
      await askAll(app, ca, asked, signal);
    },
  };
}
