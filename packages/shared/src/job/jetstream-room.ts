/** What the broker says about the room in a queue. */
import { api, type Nats, valueOf } from "../event-log/nats.ts";
import { workConsumer } from "../topology/consumers.ts";
import type { Family } from "../topology/names.ts";
import { workFilter } from "../topology/subjects.ts";
import type { Room } from "./admission.ts";
import type { Clock } from "./clock.ts";

const rememberMs = 60_000;

type Consumer = { readonly config: { readonly max_ack_pending: number } };
type Stream = { readonly state: { readonly subjects?: Readonly<Record<string, number>> } };

/** The room on the stream JOBS, from its leader. */
export function jetstreamRoom(nats: Nats, clock: Clock): Room {
  const known = new Map<string, { slots: number; until: number }>();
  return {
    async slots(family, queue) {
      const name = workConsumer(family as Family, queue);
      const now = clock.now().getTime();
      const found = known.get(name);
      if (found && found.until > now) return found.slots;
      const answer = await api<Consumer>(nats, `CONSUMER.INFO.JOBS.${name}`);
      const slots = valueOf(answer, `reading the slots of ${name}`).config.max_ack_pending;
      known.set(name, { slots, until: now + rememberMs });
      return slots;
    },
    async ready({ family, queue, tenant }) {
      const filter = workFilter(family, queue, tenant);
      const answer = await api<Stream>(nats, "STREAM.INFO.JOBS", { subjects_filter: filter });
      const { subjects = {} } = valueOf(answer, "reading what is in the queue").state;
      return new Set(Object.keys(subjects).map((subject) => subject.split(".").at(-1) ?? ""));
    },
  };
}
