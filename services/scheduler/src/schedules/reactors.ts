/** A tick that fired asks for its job. */
import { ScheduleFired } from "@chom/proto/chom/scheduler/v1/schedules";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { type Reactor, reactor } from "@chom/shared/reactor/reactor";
import type { App } from "@chom/shared/service/app";
import { requestJob } from "../job-request.ts";
import { monitorJob } from "./advance.ts";
import { ledgerKind } from "./ledger.ts";
import { schedule } from "./schedule.ts";

/** So much later than its time, by the tick's own chance: a number from 0 to the jitter. */
const jitterOf = (jobId: string, jitterSeconds: bigint): number =>
  jitterSeconds === 0n
    ? 0
    : Number.parseInt(Buffer.from(jobId).toString("hex").slice(-8), 16) %
      (Number(jitterSeconds) * 1_000);

function optionsOf(
  options: JobOptions | undefined,
  { jobId, nominalAt }: ScheduleFired,
  jitterSeconds: bigint,
): JobOptions {
  const delayMs = jitterOf(jobId, jitterSeconds);
  const given = options ?? JobOptions.fromPartial({});
  if (delayMs === 0 || !nominalAt) return given;
  return { ...given, notBefore: new Date(nominalAt.getTime() + delayMs) };
}

/** The reactor `scheduler-fire-schedules`. `monitor` is what the job of that name does. */
export const fireSchedules = (app: App, monitor: () => Promise<void>): Reactor =>
  reactor({
    name: "fire-schedules",
    aggregate: ledgerKind,
    from: eventTypes({ ScheduleFired }),
    on: {
      async ScheduleFired(fired, { tenant, eventId }) {
        const { scheduleId, jobId, jobName } = fired;
        if (jobName === monitorJob) {
          await monitor();
          return [];
        }
        const { state } = await app.load(schedule, tenant, scheduleId);
        const { spec } = state;
        if (!spec) return [];
        await requestJob(app, {
          ...{ tenant, jobId, jobName, scheduleId, causationId: eventId },
          inputJson: spec.inputJson,
          options: optionsOf(spec.options, fired, spec.jitterSeconds),
          actor: fired.askedBy || `schedule:${spec.name}`,
          reason: `schedule ${spec.name}`,
        });
        return [];
      },
    },
  });
