/** Jobs that start other jobs and wait for them: no worker is held meanwhile, and no attempt spent. */
import type { App } from "@chom/shared/service/app";
import { readJournal } from "@chom/shared/job/journal";
import { foldJournal } from "@chom/shared/job/job-state";
import { journalSubject } from "@chom/shared/topology/subjects";

export type Child = { tenant: string; jobId: string };
type Ends = {
  /** Not over yet. */
  open: number;
  /** Failed, cancelled, or waiting for a person. */
  failed: readonly (Child & { code: string; message: string })[];
};

/** How these jobs of this family stand now. */
export async function endsOf(
  app: Pick<App, "log" | "sealer">,
  children: readonly Child[],
): Promise<Ends> {
  let open = 0;
  const failed: (Child & { code: string; message: string })[] = [];
  for (const child of children) {
    const subject = journalSubject(child.tenant, "backup", child.jobId);
    const { end, parked, failure } = foldJournal(await readJournal(app, subject));
    if (!end && !parked) open += 1;
    else if (parked || end?.name === "JobFailed" || end?.name === "JobCancelled") {
      const { code = "cancelled", message = "" } = parked ?? failure ?? {};
      failed.push({ ...child, code, message });
    }
  }
  return { open, failed };
}

/** When to look again: soon at first, at most 30 s later. */
export function nextLook(begunAt: Date, now: Date): { seconds: number } {
  const elapsedS = (now.getTime() - begunAt.getTime()) / 1_000;
  return { seconds: Math.min(30, Math.max(1, Math.round(elapsedS / 5))) };
}
