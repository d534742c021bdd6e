/** What a job's scripts may have left running on servers: known while it lives, and ended before it ends badly. */
import { classify, Failure, isPassing } from "../failure/failure.ts";
import type { RunContext, Servers } from "../script/servers.ts";
import { sleep } from "./clock.ts";
import type { AttemptSettings } from "./run-settings.ts";

/** For so long a server that cannot be reached is tried again; then the job ends, and says that something may run there. */
export const patienceMs = 120_000;
const pausesMs = [1_000, 5_000];
const laterPauseMs = 15_000;

/** The servers, each noted in `open` from the beginning of a script there until its end is known. */
export function watched(servers: Servers, open: Set<string>): Servers {
  const watching = (context: RunContext): RunContext => ({
    ...context,
    watch: {
      begun: () => void open.add(context.serverId),
      over: () => void open.delete(context.serverId),
    },
  });
  return {
    run: (context, ...rest) => servers.run(watching(context), ...rest),
    transfer: (context, ...rest) => servers.transfer(watching(context), ...rest),
    stop: servers.stop,
    close: servers.close,
  };
}

async function endOn(
  { subject, fence, leaseKeys }: AttemptSettings,
  serverId: string,
  { signal, isPatient }: { signal: AbortSignal; isPatient: boolean },
): Promise<void> {
  const { engine, journal, openServers } = subject;
  const { tenant, jobId } = journal;
  for (let tries = 0; !signal.aborted; tries += 1) {
    try {
      await engine.servers.stop({
        tenant,
        jobId,
        fence,
        serverId,
        leaseKeys,
        step: "stop",
        signal,
      });
      openServers.delete(serverId);
      return;
    } catch (error) {
      const failure = classify(error);
      // Whoever brought a newer fence there ended what was older before anything else.
      if (failure.code === "fenced") return void openServers.delete(serverId);
      engine.logger.warn({ jobId, serverId, code: failure.code }, "a script could not be ended");
      if (!isPatient || !isPassing(failure)) return;
      await sleep(engine.clock, pausesMs[tries] ?? laterPauseMs, signal);
    }
  }
}

/**
 * Ends what the job's scripts left running, on all those servers side by side; of those that are reached nothing is open
 * any more. Patient, it tries again for two minutes altogether. Throws `lease-lost` or `worker-stopping` when another
 * worker must go on with it.
 */
export async function endLeft(settings: AttemptSettings, isPatient: boolean): Promise<void> {
  const { subject, hold, stopping } = settings;
  const { engine, openServers } = subject;
  if (openServers.size === 0) return;
  const own = new AbortController();
  const cancelTimer = engine.clock.after(patienceMs, () => own.abort());
  const signal = AbortSignal.any([hold.signal, stopping, own.signal]);
  try {
    const how = { signal, isPatient };
    await Promise.all([...openServers].map((serverId) => endOn(settings, serverId, how)));
  } finally {
    cancelTimer();
  }
  if (hold.signal.aborted) throw classify(hold.signal.reason);
  if (stopping.aborted && openServers.size > 0) {
    throw new Failure("transient", "worker-stopping", "the worker is shutting down");
  }
}
