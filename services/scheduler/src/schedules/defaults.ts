/** The schedules that every installation begins with, of the tenant `platform`; people may change, pause or remove them. */
import { ScheduleSpec } from "@chom/proto/chom/scheduler/v1/schedules";
import { hashId } from "@chom/shared/aggregate/id";
import type { App } from "@chom/shared/service/app";
import { monitorJob } from "./advance.ts";
import { schedule } from "./schedule.ts";

export const platform = "platform";

const entries: readonly Partial<ScheduleSpec>[] = [
  { name: "database-backup", cron: "0 2 * * *", jobName: "backup.database" },
  { name: "backup-clean", cron: "0 3 * * SUN", jobName: "backup.clean" },
  { name: "secrets-rotate", cron: "0 4 * * *", jobName: "key.rotate-due" },
  { name: "queue-monitor", cron: "*/5 * * * *", jobName: monitorJob },
];

/** The four recommended entries, in UTC. */
export const defaultSchedules: readonly ScheduleSpec[] = entries.map((entry) =>
  ScheduleSpec.fromPartial({ zone: "UTC", inputJson: "{}", ...entry }),
);

/** A tenant has one schedule of a name. */
export const scheduleIdOf = (tenant: string, name: string): string =>
  hashId("schedule", tenant, name);

/** Makes those that were never made; one that a person changed or removed stays as it is. */
export async function offerDefaults(app: App): Promise<void> {
  for (const spec of defaultSchedules) {
    const id = scheduleIdOf(platform, spec.name);
    const cause = { tenant: platform, actor: "system", eventSeed: hashId("default-schedule", id) };
    await app.handle(schedule, id, "offer", spec, cause);
  }
}
