/** What a newer release wrote: read past, but never decided upon by one that does not know it. */
import type { EventTypes } from "../aggregate/event-types.ts";
import { type Failure, failureOf } from "../failure/failure.ts";
import type { Entry } from "./event-log.ts";

/** The first entry of a type of ours that these do not know. What is nobody's fact (no type) is nothing newer. */
export function newerThan(types: EventTypes, entries: readonly Entry[]): Entry | undefined {
  const known = new Set(Object.values(types).map(({ codec }) => codec.$type));
  return entries.find(({ type }) => type.startsWith("chom.") && !known.has(type));
}

/** Failure `operator` "newer-history", which names what a release must know that may go on with this history. */
export const newerHistory = ({ subject, type, sequence, time }: Entry): Failure =>
  failureOf(
    "newer-history",
    `${subject} holds ${type} (${sequence}, of ${time.toISOString()}), which this release does not know: ` +
      `it reads on, but only a release that knows ${type} may change this history`,
  );
