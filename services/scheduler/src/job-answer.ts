/** What a family says to a job that it was asked for. */
import { Failure, type FailureKind } from "@chom/shared/failure/failure";
import { jobRefusal } from "@chom/shared/job/job-refusal";
import type { App } from "@chom/shared/service/app";
import { journalSubject } from "@chom/shared/topology/subjects";

const answerWithinMs = 2_000;
const lookEveryMs = 50;

type Place = { readonly tenant: string; readonly jobId: string; readonly family: string };

/** Waits shortly for the family: the journal's position when it accepted the job, 0 without an answer. Throws its refusal. */
export async function answered(app: App, place: Place, signal: AbortSignal): Promise<number> {
  const { tenant, jobId, family } = place;
  const subject = journalSubject(tenant, family, jobId);
  const until = app.now().getTime() + answerWithinMs;
  while (!signal.aborted && app.now().getTime() < until) {
    const last = await app.log.last("JOURNAL", subject);
    if (last) return last.sequence;
    const { refused } = (await app.load(jobRefusal, tenant, jobId)).state;
    if (refused) {
      const { kind = "rejected", code = "refused", message = "" } = refused.failure ?? {};
      // Kinds are written by our own families only.
      throw new Failure(kind as FailureKind, code, message, { violations: refused.fields });
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
  return 0;
}
