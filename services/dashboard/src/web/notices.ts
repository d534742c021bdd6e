/** What was just done, told on the next page. Only these words and numbers: a link cannot put others there. */
import { jobsOf } from "../view/format.ts";

const sentences: Readonly<Record<string, (jobs: number, of: number) => string>> = {
  retry: (jobs, of) => `${jobsOf(jobs)} of ${of} will run again.`,
  forget: (jobs, of) => `${jobsOf(jobs)} of ${of} will leave the list.`,
  cancel: () => "The job is asked to stop.",
  resume: () => "The job goes on.",
  "schedule-pause": () => "The schedule is paused.",
  "schedule-resume": () => "The schedule goes on.",
  "schedule-run": () => "The schedule runs now.",
  "flow-cancel": () => "It is asked to stop.",
  none: () => "Nothing was selected.",
};

/** The sentence that a page's address asks for; undefined for none. */
export function noticeOf(query: URLSearchParams): string | undefined {
  const did = query.get("did") ?? "";
  const sentence = Object.hasOwn(sentences, did) ? sentences[did] : undefined;
  const number = (name: string) => Math.max(0, Math.trunc(Number(query.get(name)) || 0));
  return sentence?.(number("n"), number("of"));
}
