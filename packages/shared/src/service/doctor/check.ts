/** What a doctor's check is, and how all of them are made and one finding is mended. */
import { setTimeout as sleep } from "node:timers/promises";
import { classify, notFound, rejected } from "../../failure/failure.ts";
import { scrub } from "../../secrets/scrub.ts";

export type Severity = "info" | "warning" | "critical";

export type Diagnosis = {
  /** Unique within its check. */
  readonly subject: string;
  readonly severity: Severity;
  readonly message: string;
  readonly remedy: string;
  /** Applies the remedy and says what was done; may be repeated. */
  readonly mend?: () => Promise<string>;
};

export type DoctorCheck = {
  /** Unique within its service; a row of docs/doctor.md. */
  readonly name: string;
  readonly run: () => Promise<readonly Diagnosis[]>;
};

export type Found = Diagnosis & { readonly check: string };

/** Findings of one check that are told; the rest is counted. */
const findingsMax = 50;

/** Makes one check; what keeps it from being made is a finding, too. */
async function make({ name, run }: DoctorCheck, timeoutMs: number): Promise<Found[]> {
  const cancel = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: cancel.signal }).then(() => {
    throw new Error(`it took longer than ${timeoutMs} ms`);
  });
  late.catch(() => undefined);
  try {
    const found = (await Promise.race([run(), late])).map((each) => ({ ...each, check: name }));
    const rest = found.length - findingsMax;
    if (rest <= 0) return found;
    const { severity, remedy } = found[0] as Found;
    const more = { check: name, subject: "more", severity, remedy, message: `and ${rest} more` };
    return [...found.slice(0, findingsMax), more];
  } catch (error) {
    const message = `the check could not be made: ${scrub(classify(error).message, 300)}`;
    const remedy = "see the service's log, and what else the doctor found";
    return [{ check: name, subject: "check", severity: "warning", message, remedy }];
  } finally {
    cancel.abort();
  }
}

/** Makes all checks, one after another, each bounded. */
export async function diagnose(
  checks: readonly DoctorCheck[],
  timeoutMs = 20_000,
): Promise<readonly Found[]> {
  const found: Found[] = [];
  for (const check of checks) found.push(...(await make(check, timeoutMs)));
  return found;
}

/**
 * Looks again, and applies the remedy if the finding is still there. Failure "check-not-found" for an unknown check,
 * `rejected` "not-mendable" when a person has to do it.
 */
export async function mend(
  checks: readonly DoctorCheck[],
  name: string,
  subject: string,
): Promise<string> {
  const check = checks.find((each) => each.name === name);
  if (!check) throw notFound("check", name);
  const found = (await check.run()).find((each) => each.subject === subject);
  if (!found) return "it is well by now: nothing was done";
  if (!found.mend) throw rejected("not-mendable", found.remedy);
  return found.mend();
}
