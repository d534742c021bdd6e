/** The event log as the demo follows it: every event so far, and waiting for the next of a kind. */
import type { Event } from "@chom/proto/chom/events/v1/events";

export type EventFeed = {
  /** Everything seen, in order. */
  readonly seen: readonly Event[];
  /** The first event, past or future, of this short name that satisfies `match`; fails after `timeoutMs`. */
  until: (
    name: string,
    timeoutMs: number,
    match?: (data: EventData) => boolean,
  ) => Promise<EventData>;
  /** Stops following. */
  stop: () => void;
};

/** Data of an event as canonical JSON: names in camelCase, absent fields left out. */
export type EventData = Readonly<Record<string, unknown>>;

export const shortName = ({ type }: Event): string => type.slice(type.lastIndexOf(".") + 1);

/** Follows a stream of events; `unless` names events that end a wait in failure. */
export function followEvents(
  stream: AsyncIterable<Event>,
  stop: () => void,
  unless: readonly string[],
): EventFeed {
  const seen: Event[] = [];
  const waiting = new Set<() => void>();
  let ended: Error | undefined;
  const wake = () => {
    for (const look of [...waiting]) look();
  };
  const follow = async () => {
    try {
      for await (const event of stream) {
        seen.push(event);
        wake();
      }
    } catch (error) {
      ended = error instanceof Error ? error : new Error(String(error));
      wake();
    }
  };
  void follow();
  const until: EventFeed["until"] = (name, timeoutMs, match = () => true) =>
    new Promise((resolve, reject) => {
      let at = 0;
      const done = (settle: () => void) => {
        clearTimeout(timer);
        waiting.delete(look);
        settle();
      };
      const look = () => {
        for (; at < seen.length; at += 1) {
          const event = seen[at] as Event;
          const data = JSON.parse(event.dataJson) as EventData;
          if (shortName(event) === name && match(data)) return done(() => resolve(data));
          if (unless.includes(shortName(event)) && match(data)) {
            const why = `${shortName(event)}: ${String(data["code"])} (${String(data["message"])})`;
            return done(() => reject(new Error(why)));
          }
        }
        if (ended) done(() => reject(ended));
      };
      const timer = setTimeout(
        () => done(() => reject(new Error(`no ${name} within ${timeoutMs / 1_000} s`))),
        timeoutMs,
      );
      waiting.add(look);
      look();
    });
  return { seen, until, stop };
}
