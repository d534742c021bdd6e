/** The checks of a schedule's spec, all violations at once. */
import {
  GapPolicy,
  MisfirePolicy,
  OverlapPolicy,
  RepeatPolicy,
  ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { classify, type FieldViolation, invalid } from "@chom/shared/failure/failure";
import { fits } from "@chom/shared/input/grammar";
import { scheduleNameProblem } from "@chom/shared/input/names";
import { checkedRequest } from "../job-request.ts";
import { monitorJob } from "./advance.ts";
import { cronProblem } from "./planned-times.ts";
import { isZone } from "./zone.ts";

const yearSeconds = 31_536_000n;
const daySeconds = 86_400n;

const within = (value: bigint, max: bigint): boolean => value >= 0n && value <= max;
const isKnown = (value: string, of: Readonly<Record<string, string>>): boolean =>
  Object.values(of).includes(value);

function whenProblems(spec: ScheduleSpec): FieldViolation[] {
  const { cron, zone, everySeconds, at } = spec;
  const given = [cron !== "", everySeconds !== 0n, at !== undefined].filter(Boolean).length;
  if (given !== 1) {
    return [{ field: "spec", description: "must have exactly one of cron, every_seconds and at" }];
  }
  const problem = cron === "" ? undefined : cronProblem(cron);
  const rules: readonly (readonly [boolean, string, string])[] = [
    [problem === undefined, "spec.cron", problem ?? ""],
    [zone === "" || cron !== "", "spec.zone", "is for cron only"],
    [zone === "" || isZone(zone), "spec.zone", "must be an IANA time zone like Europe/Berlin"],
    [within(everySeconds, yearSeconds), "spec.every_seconds", "must be 1 to 31536000"],
    [at === undefined || !Number.isNaN(+at), "spec.at", "must be a valid time"],
  ];
  return rules.flatMap(([holds, field, description]) => (holds ? [] : [{ field, description }]));
}

function policyProblems(spec: ScheduleSpec): FieldViolation[] {
  const rules: readonly (readonly [boolean, string, string])[] = [
    [fits(scheduleNameProblem, spec.name), "spec.name", "must be 1 to 63 of a-z, 0-9 and dash"],
    [isKnown(spec.gap, GapPolicy), "spec.gap", "must be a known policy"],
    [isKnown(spec.repeat, RepeatPolicy), "spec.repeat", "must be a known policy"],
    [isKnown(spec.misfire, MisfirePolicy), "spec.misfire", "must be a known policy"],
    [isKnown(spec.overlap, OverlapPolicy), "spec.overlap", "must be a known policy"],
    [within(spec.jitterSeconds, daySeconds), "spec.jitter_seconds", "must be 0 to 86400"],
    [
      within(spec.misfireWindowSeconds, yearSeconds),
      "spec.misfire_window_seconds",
      "must be 0 to 31536000",
    ],
    [
      spec.options?.notBefore === undefined && spec.options?.expiresAt === undefined,
      "spec.options",
      "must name no times: the schedule says when",
    ],
  ];
  return rules.flatMap(([holds, field, description]) => (holds ? [] : [{ field, description }]));
}

/** Violations of the job and its input; a schedule of `monitor` has no input. */
function jobProblems({ jobName, inputJson }: ScheduleSpec): readonly FieldViolation[] {
  if (jobName === monitorJob) return [];
  try {
    checkedRequest(jobName, inputJson || "{}");
    return [];
  } catch (error) {
    const renamed = classify(error).violations;
    return renamed.map(({ field, description }) => ({ field: `spec.${field}`, description }));
  }
}

/** The spec with what it left out. Failure `invalid` with all violations. */
export function checkedSpec(given: ScheduleSpec | undefined): ScheduleSpec {
  const spec = ScheduleSpec.fromPartial(given ?? {});
  const violations = [...policyProblems(spec), ...whenProblems(spec), ...jobProblems(spec)];
  if (violations.length > 0) throw invalid(violations);
  return { ...spec, inputJson: spec.inputJson || "{}", zone: spec.zone || "UTC" };
}
