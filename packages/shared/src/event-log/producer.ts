/** A fact comes from who may write its history; one that names another source is nobody's. */
import { failureOf } from "../failure/failure.ts";
import { producersOf } from "../topology/producers.ts";
import type { Entry } from "./event-log.ts";

/** Failure `security` "foreign-producer" when the entry names a source that does not write such histories. */
export function checkProducer({ subject, source, sequence, type }: Entry): void {
  const producers = producersOf(subject);
  if (!producers || producers.includes(source)) return;
  throw failureOf(
    "foreign-producer",
    `${type} at ${sequence} on ${subject} names ${source || "nobody"} as its source, not ${producers.join(" or ")}`,
  );
}
