/** The JSON of chains and batches as people write it, and what the service takes. */
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { BatchSpec, ChainSpec, FlowStep, SkipPolicy } from "@chom/proto/chom/scheduler/v1/flows";
import { InvalidArgumentError } from "commander";

export const flowFileHelp = `
A chain:  {"name": "…", "queue": "high", "onSkip": "stop", "links": [<step>, …], "catch": <step>}
A batch:  {"name": "…", "queue": "low", "allowFailures": true, "jobs": [<step>, …],
           "then": <step>, "catch": <step>, "finally": <step>}
A step:   {"job": "backup.create", "input": {"siteId": "…"}, "options": {"tries": 5}}
          or {"batch": <batch>} or {"chain": <chain>}
In a chain, "$site" and "$server" in an input stand for those of the link before.`;

type Json = Readonly<Record<string, unknown>>;

function objectAt(json: unknown, at: string, known: readonly string[]): Json {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InvalidArgumentError(`${at} must be an object`);
  }
  const strange = Object.keys(json).find((key) => !known.includes(key));
  if (strange !== undefined) {
    throw new InvalidArgumentError(`${at} has no "${strange}"; it has ${known.join(", ")}`);
  }
  return json as Json;
}

function stepsAt(json: unknown, at: string): FlowStep[] {
  if (!Array.isArray(json)) throw new InvalidArgumentError(`${at} must be a list`);
  return json.map((step, index) => stepAt(step, `${at}[${index}]`));
}

const callbackAt = (json: unknown, at: string): FlowStep | undefined =>
  json === undefined ? undefined : stepAt(json, at);

/** One step; unknown keys are refused, since a misspelt one would be a job with other settings. */
export function stepAt(json: unknown, at: string): FlowStep {
  const given = objectAt(json, at, ["job", "input", "options", "batch", "chain"]);
  const { job = "", input = {}, options, batch, chain } = given;
  if (typeof job !== "string") throw new InvalidArgumentError(`${at}.job must be a job's name`);
  return FlowStep.fromPartial({
    jobName: job,
    inputJson: job === "" ? "" : JSON.stringify(input),
    options: options === undefined ? undefined : JobOptions.fromJSON(options),
    batch: batch === undefined ? undefined : batchAt(batch, `${at}.batch`),
    chain: chain === undefined ? undefined : chainAt(chain, `${at}.chain`),
  });
}

const policies: Readonly<Record<string, SkipPolicy>> = {
  continue: SkipPolicy.CONTINUE,
  stop: SkipPolicy.STOP,
};

/** A chain. Fails with the place of what is wrong. */
export function chainAt(json: unknown, at = "the chain"): ChainSpec {
  const given = objectAt(json, at, ["name", "queue", "onSkip", "links", "catch"]);
  const onSkip = policies[String(given["onSkip"] ?? "continue")];
  if (!onSkip) throw new InvalidArgumentError(`${at}.onSkip must be continue or stop`);
  return ChainSpec.fromPartial({
    ...{ name: String(given["name"] ?? ""), queue: String(given["queue"] ?? ""), onSkip },
    links: stepsAt(given["links"], `${at}.links`),
    catch: callbackAt(given["catch"], `${at}.catch`),
  });
}

/** A batch. Fails with the place of what is wrong. */
export function batchAt(json: unknown, at = "the batch"): BatchSpec {
  const callbacks = ["then", "catch", "finally"];
  const given = objectAt(json, at, ["name", "queue", "allowFailures", "jobs", ...callbacks]);
  return BatchSpec.fromPartial({
    ...{ name: String(given["name"] ?? ""), queue: String(given["queue"] ?? "") },
    allowFailures: given["allowFailures"] === true,
    jobs: stepsAt(given["jobs"] ?? [], `${at}.jobs`),
    then: callbackAt(given["then"], `${at}.then`),
    catch: callbackAt(given["catch"], `${at}.catch`),
    finally: callbackAt(given["finally"], `${at}.finally`),
  });
}

const stepsMax = 1_000;
const bytesMax = 1_000_000;

/** Steps as pages that each fit into one call. */
export function pagesOf(steps: readonly FlowStep[]): FlowStep[][] {
  const pages: FlowStep[][] = [[]];
  let bytes = 0;
  for (const step of steps) {
    const more = JSON.stringify(FlowStep.toJSON(step)).length;
    const page = pages.at(-1) ?? [];
    if (page.length > 0 && (page.length >= stepsMax || bytes + more > bytesMax)) {
      pages.push([step]);
      bytes = more;
    } else {
      page.push(step);
      bytes += more;
    }
  }
  return pages;
}
