/** Puts jobs that wait in the journal into the queue as others end: in turns over the tenants. */
import { setTimeout as pause } from "node:timers/promises";
import type { Database } from "../projection/database.ts";
import { inTurns, sharesOf } from "./admission.ts";
import type { Engine } from "./engine.ts";
import type { DueJob, OpenJobs } from "./open-jobs.ts";

export const admitEveryMs = 200;
/** Between two passes while there is something to put in. */
const againMs = 20;

export type AdmitterOptions = {
  readonly engine: Engine;
  readonly db: Database;
  readonly openJobs: OpenJobs;
};

/**
 * One pass; answers how many jobs were put in. Several replicas at once claim different jobs. One that dies between
 * claim and queue leaves its claims to the sweeper.
 */
export async function admit({ engine, db, openJobs }: AdmitterOptions): Promise<number> {
  const { admission, clock, family } = engine;
  if (!admission) return 0;
  const now = clock.now();
  const claimed: DueJob[] = [];
  for (const [queue, tenants] of await openJobs.unadmitted(db, now)) {
    const slots = await admission.room.slots(family, queue);
    const ready = new Map<string, ReadonlySet<string>>();
    for (const { tenant } of tenants) {
      ready.set(tenant, await admission.room.ready({ family, queue, tenant }));
    }
    const shares = sharesOf(
      slots,
      tenants.map((each) => ({ ...each, ready: ready.get(each.tenant)?.size ?? 0 })),
    );
    const lists: DueJob[][] = [];
    for (const { tenant } of tenants) {
      const there = [...(ready.get(tenant) ?? [])];
      const room = shares.get(tenant) ?? 0;
      lists.push(await openJobs.claim(db, { queue, tenant, there, room, now }));
    }
    claimed.push(...inTurns(lists));
  }
  for (const { item, position } of claimed) await engine.queue.publishIfAbsent(item, position);
  return claimed.length;
}

/** Passes until there is nothing to put in. */
export async function admitAll(options: AdmitterOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await admit(options)) > 0) await pause(againMs);
}
