/** What a tenant still has, told by the types of the last facts about each thing: no body is opened for it. */
import type { InUse } from "@chom/proto/chom/credentials/v1/keys";
import type { EventLog, StreamName } from "@chom/shared/event-log/event-log";

const batch = 500;
const firstMax = 100;

type Thing = { readonly since: Date; readonly open: boolean };

const nameOf = (type: string): string => type.slice(type.lastIndexOf(".") + 1);

/** Subject and, where many share one subject, the id inside the body. */
type Sort = {
  readonly stream: StreamName;
  readonly filter: string;
  /** Names of the types that begin or end a thing; true: it is there. All others change nothing. */
  readonly turns: Readonly<Record<string, boolean>>;
  /** Name of the body's field that holds the id; by default the subject's last part is it. */
  readonly id?: string;
};

const sites = (tenant: string): Sort => ({
  ...{ stream: "EVENTS", filter: `evt.${tenant}.site.*` },
  turns: {
    ...{ SiteRequested: true, SiteProvisioned: true, SiteDeprovisioningFailed: true },
    ...{ SiteProvisioningFailed: false, SiteDeprovisioned: false },
  },
});

const jobs = (tenant: string): Sort => ({
  ...{ stream: "JOURNAL", filter: `jrn.${tenant}.*.*` },
  turns: {
    ...{ JobQueued: true, JobRetried: true, JobCompleted: false, JobSkipped: false },
    ...{ JobFailed: false, JobCancelled: false, JobForgotten: false },
  },
});

const backups = (tenant: string): Sort => ({
  ...{ stream: "EVENTS", filter: `evt.${tenant}.backups.*`, id: "backupId" },
  turns: { BackupCompleted: true, BackupExpired: false },
});

const idIn = (body: string, field: string): string =>
  String((JSON.parse(body) as Record<string, unknown>)[field] ?? "");

async function inUse(log: EventLog, { stream, filter, turns, id }: Sort): Promise<InUse> {
  const things = new Map<string, Thing>();
  for (let after = 0; ; ) {
    const { entries, lastSequence } = await log.read(stream, filter, after, batch);
    for (const entry of entries) {
      const name = nameOf(entry.type);
      if (!Object.hasOwn(turns, name)) continue;
      const key = id
        ? idIn(entry.body, id)
        : entry.subject.slice(entry.subject.lastIndexOf(".") + 1);
      things.set(key, { since: entry.time, open: turns[name] === true });
    }
    if (entries.length === 0 || lastSequence <= after) break;
    after = lastSequence;
  }
  const open = [...things].filter(([, thing]) => thing.open);
  const newest = open.reduce((latest, [, { since }]) => Math.max(latest, since.getTime()), 0);
  return {
    count: BigInt(open.length),
    first: open.slice(0, firstMax).map(([key]) => key),
    newestAt: open.length > 0 ? new Date(newest) : undefined,
  };
}

export type TenantUse = { readonly sites: InUse; readonly jobs: InUse; readonly backups: InUse };

/** Reads the tenant's whole history: for what happens once in a tenant's life. */
export async function useOf(log: EventLog, tenant: string): Promise<TenantUse> {
  const [atSites, atJobs, atBackups] = await Promise.all(
    [sites(tenant), jobs(tenant), backups(tenant)].map((sort) => inUse(log, sort)),
  );
  const none = { count: 0n, first: [], newestAt: undefined };
  return { sites: atSites ?? none, jobs: atJobs ?? none, backups: atBackups ?? none };
}
