/** Following a log: wait until something may be new, by its hint or at the latest after a while. */
import type { EventLog, StreamName } from "@chom/shared/event-log/event-log";
import { api, type Nats, valueOf } from "@chom/shared/event-log/nats";

/** Hints may miss; so long may an entry be late then. */
const pollMs = 2_000;

export type Follower = {
  /** Answers when something may be new since the last call, or the signal aborted. */
  changed(): Promise<void>;
  stop(): void;
};

/** Starts listening at once, so that nothing falls between a read and the wait after it. */
export function follow(
  log: Pick<EventLog, "hint">,
  stream: StreamName,
  filter: string,
  signal: AbortSignal,
): Follower {
  let isNew = false;
  let wake = () => {};
  const stop = log.hint(stream, filter, () => {
    isNew = true;
    wake();
  });
  return {
    async changed() {
      if (!isNew && !signal.aborted) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(resolve, pollMs);
        signal.addEventListener("abort", () => resolve(), { once: true });
        await promise;
        clearTimeout(timer);
      }
      isNew = false;
    },
    stop,
  };
}

/** The end of a stream as it is now. */
export async function lastSequence(nats: Nats, stream: StreamName): Promise<number> {
  const answer = await api<{ state: { last_seq: number } }>(nats, `STREAM.INFO.${stream}`);
  return valueOf(answer, `reading ${stream}`).state.last_seq;
}
