/** Jobs that start other jobs and wait for them: no worker is held meanwhile, and no attempt spent. */
import type { EventLog } from "../event-log/event-log.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { journalSubject } from "../topology/subjects.ts";
import { readJournal } from "./journal.ts";
import { foldJournal } from "./job-state.ts";

export type Child = { readonly tenant: string; readonly jobId: string };

/** `failed` is also one that was cancelled, or that waits for a person. */
export type ChildEnd = Child & {
  readonly end: "open" | "completed" | "skipped" | "failed";
  /** Of a failure; empty otherwise. */
  readonly code: string;
  readonly message: string;
};

/** How these jobs of one family stand now, in their order. */
export async function endsOf(
  ports: { readonly log: EventLog; readonly sealer: Sealer },
  family: string,
  children: readonly Child[],
): Promise<readonly ChildEnd[]> {
  const ends: ChildEnd[] = [];
  for (const { tenant, jobId } of children) {
    const journal = await readJournal(ports, journalSubject(tenant, family, jobId));
    const { end, parked, failure } = foldJournal(journal);
    const child = { tenant, jobId, code: "", message: "" };
    if (parked || end?.name === "JobFailed" || end?.name === "JobCancelled") {
      const { code = "cancelled", message = "it was cancelled" } = parked ?? failure ?? {};
      ends.push({ ...child, end: "failed", code, message });
    } else if (!end) ends.push({ ...child, end: "open" });
    else ends.push({ ...child, end: end.name === "JobSkipped" ? "skipped" : "completed" });
  }
  return ends;
}

/** When to look again: soon at first, at most 30 s later. */
export function nextLook(begunAt: Date, now: Date): { seconds: number } {
  const elapsedS = (now.getTime() - begunAt.getTime()) / 1_000;
  return { seconds: Math.min(30, Math.max(1, Math.round(elapsedS / 5))) };
}
