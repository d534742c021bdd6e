/** SchedulesService: makes, changes, pauses and shows the schedules of the caller's tenant. */
import {
  type ChangeScheduleRequest,
  type CreateScheduleRequest,
  type GetScheduleRequest,
  type PauseScheduleRequest,
  type RemoveScheduleRequest,
  type ResumeScheduleRequest,
  type RunScheduleRequest,
  type ScheduleSpec,
  SchedulesServiceService,
} from "@chom/proto/chom/scheduler/v1/schedules";
import type { InputOf } from "@chom/shared/aggregate/aggregate";
import { hashId } from "@chom/shared/aggregate/id";
import { notFound, security } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { answered } from "../job-answer.ts";
import { methodOf } from "../job-request.ts";
import { monitorJob, runNow } from "./advance.ts";
import { platform, scheduleIdOf } from "./defaults.ts";
import { getSchedule, listSchedules, listTicks } from "./read-schedules.ts";
import { schedule } from "./schedule.ts";
import { checkedSpec } from "./spec-fields.ts";

export const schedulesRpc = (app: App): RpcService => ({
  definition: SchedulesServiceService,
  implementation: {
    createSchedule: unary((request: CreateScheduleRequest, caller) => create(app, request, caller)),
    changeSchedule: unary((request: ChangeScheduleRequest, caller) => change(app, request, caller)),
    pauseSchedule: unary((request: PauseScheduleRequest, caller) => pause(app, request, caller)),
    resumeSchedule: unary((request: ResumeScheduleRequest, caller) =>
      told(app, request, caller, "resume"),
    ),
    removeSchedule: unary((request: RemoveScheduleRequest, caller) =>
      told(app, request, caller, "remove"),
    ),
    runSchedule: unary((request: RunScheduleRequest, caller) => run(app, request, caller)),
    getSchedule: unary((request: GetScheduleRequest, caller) => getSchedule(app, request, caller)),
    listSchedules: unary((request: Parameters<typeof listSchedules>[1], caller) =>
      listSchedules(app, request, caller),
    ),
    listTicks: unary((request: Parameters<typeof listTicks>[1], caller) =>
      listTicks(app, request, caller),
    ),
  },
});

/** Who may not start a job must not have a schedule start it; alerts are looked at for the platform only. */
function checkPermitted({ jobName }: ScheduleSpec, { permissions, tenant }: Caller): void {
  const wanted = jobName === monitorJob ? "schedule.write" : methodOf(jobName).permission;
  const isGranted = permissions.includes("*") || permissions.includes(wanted);
  if (!isGranted) throw security("not-permitted", `needs the permission ${wanted}`);
  if (jobName === monitorJob && tenant !== platform) {
    throw security("not-permitted", "only the platform may schedule monitor");
  }
}

type Commands = (typeof schedule)["commands"];

/** Runs a command; a schedule of another tenant is not found. */
async function command<Name extends keyof Commands & string>(
  app: App,
  { tenant, actor }: Caller,
  scheduleId: string,
  [name, input]: readonly [Name, InputOf<typeof schedule, Name>],
): Promise<bigint> {
  const { state } = await app.load(schedule, tenant, scheduleId);
  if (!state.spec || state.removed) throw notFound("schedule", scheduleId);
  const cause = { tenant, actor, eventSeed: app.newId() };
  const { position } = await app.handle(schedule, scheduleId, name, input, cause);
  return BigInt(position);
}

async function create(app: App, request: CreateScheduleRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  fields.done();
  const spec = checkedSpec(request.spec);
  checkPermitted(spec, caller);
  const scheduleId = scheduleIdOf(caller.tenant, spec.name);
  const { tenant, actor } = caller;
  const eventSeed = hashId("schedule", scheduleId, requestId);
  const cause = { tenant, actor, eventSeed };
  const { position } = await app.handle(schedule, scheduleId, "create", spec, cause);
  return { scheduleId, position: BigInt(position) };
}

async function change(app: App, request: ChangeScheduleRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  fields.done();
  const spec = checkedSpec(request.spec);
  checkPermitted(spec, caller);
  return { position: await command(app, caller, scheduleId, ["change", spec]) };
}

async function pause(app: App, request: PauseScheduleRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  const reason = fields.optionalText("reason", { max: 200 });
  const until = fields.time("until");
  if (until && until <= app.now()) fields.refuse("until", "must be in the future");
  fields.done();
  const { actor } = caller;
  return { position: await command(app, caller, scheduleId, ["pause", { actor, reason, until }]) };
}

async function told(
  app: App,
  request: ResumeScheduleRequest | RemoveScheduleRequest,
  caller: Caller,
  verb: "resume" | "remove",
) {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { actor } = caller;
  return { position: await command(app, caller, scheduleId, [verb, { actor, reason }]) };
}

async function run(app: App, request: RunScheduleRequest, caller: Caller) {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  const jobId = fields.id("requestId");
  fields.done();
  const { tenant, actor } = caller;
  const { state } = await app.load(schedule, tenant, scheduleId);
  if (!state.spec || state.removed) throw notFound("schedule", scheduleId);
  checkPermitted(state.spec, caller);
  await runNow(app, { tenant, scheduleId }, { jobId, actor });
  const { jobName } = state.spec;
  if (jobName === monitorJob) return { jobId: "" };
  await answered(app, { tenant, jobId, family: methodOf(jobName).family }, caller.signal);
  return { jobId };
}
