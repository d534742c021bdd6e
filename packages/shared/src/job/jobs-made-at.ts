/** When the stream JOBS was made: a newer one than an item means that the item is lost. */
import { api, type Nats, valueOf } from "../event-log/nats.ts";

/** Asks the broker, whose clock it is. */
export const jobsMadeAt = (nats: Nats) => async (): Promise<Date> => {
  const answer = await api<{ readonly created: string }>(nats, "STREAM.INFO.JOBS");
  return new Date(valueOf(answer, "reading the stream JOBS").created);
};
