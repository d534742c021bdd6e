/** The checks of chains and batches, all violations at once, and who may start what is in them. */
import {
  BatchSpec,
  ChainSpec,
  type FlowStep,
  SkipPolicy,
} from "@chom/proto/chom/scheduler/v1/flows";
import { classify, type FieldViolation, invalid, security } from "@chom/shared/failure/failure";
import { flowNameProblem } from "@chom/shared/input/names";
import type { Caller } from "@chom/shared/rpc/unary";
import { checkedRequest, methodOf } from "../job-request.ts";

const linksMax = 100;
/** In one call; more come by AddToBatch. */
const jobsMax = 2_000;
const depthMax = 3;
const queues = new Set(["", "high", "default", "low"]);

type Found = { readonly violations: FieldViolation[]; readonly permissions: Set<string> };

function checkNames(name: string, queue: string, at: string, { violations }: Found): void {
  const description = name === "" ? undefined : flowNameProblem(name);
  if (description) violations.push({ field: `${at}.name`, description });
  if (!queues.has(queue)) {
    violations.push({ field: `${at}.queue`, description: "must be high, default or low" });
  }
}

function checkJob({ jobName, inputJson }: FlowStep, at: string, found: Found): void {
  try {
    found.permissions.add(methodOf(jobName).permission);
    checkedRequest(jobName, inputJson || "{}");
  } catch (error) {
    for (const { field, description } of classify(error).violations) {
      found.violations.push({ field: `${at}.${field}`, description });
    }
  }
}

type At = { readonly at: string; readonly depth: number };

function checkStep(step: FlowStep, { at, depth }: At, found: Found): void {
  const given = [step.jobName !== "", step.batch, step.chain].filter(Boolean).length;
  if (given !== 1 || depth > depthMax) {
    const description =
      given === 1
        ? `must not be nested more than ${depthMax} deep`
        : "must have exactly one of job_name, batch and chain";
    found.violations.push({ field: at, description });
  } else if (step.batch) checkBatch(step.batch, { at: `${at}.batch`, depth: depth + 1 }, found);
  else if (step.chain) checkChain(step.chain, { at: `${at}.chain`, depth: depth + 1 }, found);
  else checkJob(step, at, found);
}

function checkSteps(steps: readonly FlowStep[], { at, depth }: At, found: Found): void {
  for (const [index, step] of steps.entries()) {
    checkStep(step, { at: `${at}[${index}]`, depth }, found);
  }
}

/** Callbacks are jobs: what they start must not wait for itself. */
function checkCallback(step: FlowStep | undefined, at: string, found: Found): void {
  if (!step) return;
  if (step.jobName === "") found.violations.push({ field: at, description: "must be a job" });
  else checkJob(step, at, found);
}

function checkChain(spec: ChainSpec, { at, depth }: At, found: Found): void {
  checkNames(spec.name, spec.queue, at, found);
  if (spec.links.length < 1 || spec.links.length > linksMax) {
    found.violations.push({ field: `${at}.links`, description: `must be 1 to ${linksMax}` });
  }
  if (!Object.values(SkipPolicy).includes(spec.onSkip)) {
    found.violations.push({ field: `${at}.on_skip`, description: "must be a known policy" });
  }
  checkSteps(spec.links, { at: `${at}.links`, depth }, found);
  checkCallback(spec.catch, `${at}.catch`, found);
}

function checkBatch(spec: BatchSpec, { at, depth }: At, found: Found): void {
  checkNames(spec.name, spec.queue, at, found);
  if (spec.jobs.length > jobsMax) {
    const description = `must be at most ${jobsMax} in one call: add the others to the batch`;
    found.violations.push({ field: `${at}.jobs`, description });
  } else checkSteps(spec.jobs, { at: `${at}.jobs`, depth }, found);
  checkCallback(spec.then, `${at}.then`, found);
  checkCallback(spec.catch, `${at}.catch`, found);
  checkCallback(spec.finally, `${at}.finally`, found);
}

function judge({ violations, permissions }: Found, caller: Caller): void {
  if (violations.length > 0) throw invalid(violations.slice(0, 100));
  const missing = [...permissions].find(
    (wanted) => !caller.permissions.includes("*") && !caller.permissions.includes(wanted),
  );
  if (missing) throw security("not-permitted", `needs the permission ${missing}`);
}

const nothing = (): Found => ({ violations: [], permissions: new Set() });

/** Failures: `invalid` with the fields, `security` "not-permitted". */
export function checkedChain(given: ChainSpec | undefined, caller: Caller): ChainSpec {
  const spec = ChainSpec.fromPartial(given ?? {});
  const found = nothing();
  checkChain(spec, { at: "spec", depth: 1 }, found);
  judge(found, caller);
  return spec;
}

/** As `checkedChain`. */
export function checkedBatch(given: BatchSpec | undefined, caller: Caller): BatchSpec {
  const spec = BatchSpec.fromPartial(given ?? {});
  const found = nothing();
  checkBatch(spec, { at: "spec", depth: 1 }, found);
  judge(found, caller);
  return spec;
}

/** As `checkedChain`, for the jobs of AddToBatch. */
export function checkedJobs(jobs: readonly FlowStep[], caller: Caller): readonly FlowStep[] {
  return checkedBatch(BatchSpec.fromPartial({ jobs: [...jobs] }), caller).jobs;
}
