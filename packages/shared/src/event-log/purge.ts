/** Removing journals from the broker: what only its user `pruner` may do, on a connection of its own. */
import { parseHistorySubject } from "../topology/subjects.ts";
import { api, type Nats, valueOf } from "./nats.ts";

/**
 * Removes the entries of one journal up to a sequence, it included; later ones stay. Answers how many. Fails with a
 * TypeError for anything but one exact journal, since a wildcard would take them all.
 */
export async function purgeJournal(nats: Nats, subject: string, through: number): Promise<number> {
  if (parseHistorySubject(subject)?.stream !== "JOURNAL") {
    throw new TypeError(`${subject} is no journal`);
  }
  if (!Number.isSafeInteger(through) || through < 1) throw new TypeError("purging needs an end");
  const request = { filter: subject, seq: through + 1 };
  const answer = await api<{ purged: number }>(nats, "STREAM.PURGE.JOURNAL", request);
  return valueOf(answer, `pruning ${subject}`).purged;
}
