/** What a `run` is made of: the journal as its memory, the event log for its records. */
import { hashId } from "../aggregate/id.ts";
import { handleCommand } from "../event-log/aggregates.ts";
import { scrub } from "../secrets/scrub.ts";
import type { Hold } from "./hold.ts";
import { journalEvents } from "./journal-events.ts";
import { watched } from "./left-behind.ts";
import type { Subject } from "./outcome-entries.ts";
import { openFor, sealFor } from "./payload.ts";
import { progressOf } from "./progress.ts";
import type { RunSettings, StepStore } from "./run-steps.ts";
import { decodeResult } from "./step-result.ts";

export type AttemptSettings = {
  readonly subject: Subject;
  readonly hold: Hold;
  /** Aborts when the process must end. */
  readonly stopping: AbortSignal;
  readonly fence: string;
  readonly leaseKeys: readonly string[];
};

function stepStore({ engine, journal, startedSequence }: Subject): StepStore {
  const { tenant, jobId } = journal;
  const place = (step: string) => ({ tenant, jobId, kind: `step:${step}` });
  return {
    remembered(step) {
      const found = journal.state().steps.get(step);
      if (!found) return undefined;
      const result = decodeResult(openFor(engine.sealer, place(step), found.result));
      return { result, undoable: found.undoable };
    },
    finishedBefore: (step) => journal.state().finishes.get(step) ?? 0,
    async finish({ result, durationMs, outputTail, ...rest }) {
      await engine.sealer.ready(tenant);
      const entry = journalEvents.StepCompleted({
        ...rest,
        result: sealFor(engine.sealer, place(rest.step), result),
        durationMs: BigInt(durationMs),
        outputTail: scrub(outputTail),
      });
      await journal.fact(startedSequence, [entry]);
    },
  };
}

const recorder =
  ({ engine, job, journal }: Subject): RunSettings["record"] =>
  async (name, command, input) => {
    const { queued, generation } = journal.state();
    await handleCommand(
      { log: engine.log, sealer: engine.sealer, source: engine.family, now: engine.clock.now },
      {
        of: job.aggregate,
        id: queued?.aggregateId ?? "",
        command,
        input: input as never,
        cause: {
          tenant: journal.tenant,
          actor: queued?.actor ?? "system",
          causationId: journal.jobId,
          correlationId: queued?.correlationId ?? journal.jobId,
          eventSeed: hashId(journal.jobId, generation, "record", name),
        },
      },
    );
  };

/** What `run` is made of, for working and for undoing. */
export function runSettingsOf(
  { subject, fence, leaseKeys }: AttemptSettings,
  signal: AbortSignal,
  mode: RunSettings["mode"],
): RunSettings {
  const { engine, journal } = subject;
  const { queued, attempts, generation } = journal.state();
  return {
    id: journal.jobId,
    tenant: journal.tenant,
    actor: queued?.actor ?? "system",
    attempt: attempts,
    generation,
    fence,
    leaseKeys,
    signal,
    mode,
    now: engine.clock.now,
    store: stepStore(subject),
    servers: watched(engine.servers, subject.openServers),
    record: recorder(subject),
    progress: progressOf(subject),
  };
}
