/** Progress for people: at most one entry a second reaches the journal, scrubbed. */
import { journalEvents } from "./journal-events.ts";
import type { Subject } from "./outcome-entries.ts";
import { scrub } from "../secrets/scrub.ts";

const everyMs = 1_000;

/** Writes progress in the background; what cannot be written is dropped. */
export function progressOf({ engine, journal, startedSequence }: Subject) {
  let lastAt = Number.NEGATIVE_INFINITY;
  return (percent: number, message: string): void => {
    const now = engine.clock.now().getTime();
    if (now - lastAt < everyMs) return;
    lastAt = now;
    const whole = Math.min(100, Math.max(0, Math.round(percent)));
    const entry = journalEvents.JobProgressed({ percent: whole, message: scrub(message, 500) });
    journal.fact(startedSequence, [entry]).catch((error: unknown) => {
      engine.logger.debug({ err: error, jobId: journal.jobId }, "progress was not written");
    });
  };
}
