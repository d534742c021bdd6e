/** How many jobs a queue holds, and whether that is busy: `chom queue monitor`. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { App } from "@chom/shared/service/app";
import type { AlertRow } from "./alert-tables.ts";
import { queueCounts } from "./measure.ts";
import { clearRatio, type Found, platform } from "./rules.ts";

export const busyRule = "queue-busy";

export type QueueSizes = {
  readonly queue: string;
  readonly size: number;
  readonly pending: number;
  readonly delayed: number;
  readonly reserved: number;
};

const kinds: Readonly<Partial<Record<JobState, "pending" | "delayed" | "reserved">>> = {
  [JobState.QUEUED]: "pending",
  [JobState.WAITING]: "pending",
  [JobState.SCHEDULED]: "delayed",
  [JobState.RUNNING]: "reserved",
};

/** `default` is that queue of all families, `backup.default` of one. Only `platform` sees other tenants' jobs. */
export async function sizesOf(app: App, tenant: string, queue: string): Promise<QueueSizes> {
  const sizes = { pending: 0, delayed: 0, reserved: 0 };
  const [first = "", second] = queue.split(".");
  for (const row of await queueCounts(app, tenant === platform ? undefined : tenant)) {
    const isMeant = second ? row.family === first && row.queue === second : row.queue === first;
    const kind = kinds[row.state];
    if (isMeant && kind) sizes[kind] += row.count;
  }
  const size = sizes.pending + sizes.delayed + sizes.reserved;
  return { queue, size, ...sizes };
}

/** Busy at the limit, well again clearly below it. */
export const busyOf = (tenant: string, { queue, size }: QueueSizes, max: number): Found => ({
  ...{ tenant, rule: busyRule, subject: queue, value: size, threshold: max },
  ...{ isHigh: size >= max, isLow: size <= Math.floor(max * clearRatio) && size < max },
  message: `the queue ${queue} holds ${size} jobs`,
});

/** A queue that was found busy, looked at again: it may get well, but only a monitor raises. */
export const wasBusy = ({ tenant, threshold }: AlertRow, sizes: QueueSizes): Found => ({
  ...busyOf(tenant, sizes, threshold),
  isHigh: false,
});
