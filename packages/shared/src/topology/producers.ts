/** Who may have written what: the broker lets nobody else, and readers do not take its word for it alone. */
import { aggregatesOf, isFamily, users } from "./names.ts";
import { parseHistorySubject } from "./subjects.ts";

/**
 * The services that write this history: those that own the kind of aggregate, or the family of a journal. Undefined for
 * kinds that the topology does not know.
 */
export function producersOf(subject: string): readonly string[] | undefined {
  const history = parseHistorySubject(subject);
  if (!history) return undefined;
  const { stream, kind } = history;
  if (stream === "JOURNAL") return isFamily(kind) ? [kind] : undefined;
  const owners = users.filter((user) => aggregatesOf[user]?.includes(kind));
  return owners.length > 0 ? owners : undefined;
}
