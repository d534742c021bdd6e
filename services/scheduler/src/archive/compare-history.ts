/** One history as the log and as the archive tell it: what differs, and which side can be mended from the other. Pure. */
import { type Content, chainHash, isSameContent, noHash } from "./archived-event.ts";

export type Told = Content & { readonly sequence: number };
export type Kept = Content & {
  readonly version: number;
  readonly previousHash: Buffer;
  readonly hash: Buffer;
};

type Kind =
  /** The archive has it, the log does not, and nothing of the history follows in the log: it can be appended again. */
  | "missing-in-log"
  /** The log has it and the archive does not. */
  | "missing-in-archive"
  /** The archive's row is not what was archived: its own hash says so, and fits what the log has. */
  | "row-changed"
  /** The archive's row is not what was archived, and the log has nothing that its hash fits. */
  | "chain-broken"
  /** Two sides, two stories: nobody but a person may choose. */
  | "different"
  /** The log lacks an event in the middle of a history: appended again it would come too late. */
  | "out-of-order";

export type Difference = {
  readonly kind: Kind;
  readonly version: number;
  readonly eventId: string;
  readonly detail: string;
};

const difference = (kind: Kind, version: number, eventId: string, detail: string): Difference => ({
  ...{ kind, version, eventId, detail },
});

/**
 * Walks both sides from their beginning. Rows of the archive come by version and may have gaps; events of the log come
 * in order, and their versions count from 1.
 */
export function compareHistory(told: readonly Told[], kept: readonly Kept[]): Difference[] {
  const found: Difference[] = [];
  const byVersion = new Map(kept.map((row) => [row.version, row]));
  const keptIds = new Map(kept.map((row) => [row.eventId, row.version]));
  const toldIds = new Set(told.map(({ eventId }) => eventId));
  const last = Math.max(told.length, ...kept.map(({ version }) => version));
  let previous = noHash;
  let at = 0;
  for (let version = 1; version <= last; version += 1) {
    const row = byVersion.get(version);
    const event = told[at];
    if (row && isWhole(row, previous)) {
      previous = row.hash;
      if (event && isSameContent(event, row)) at += 1;
      else if (!event) found.push(difference("missing-in-log", version, row.eventId, row.type));
      else if (toldIds.has(row.eventId)) {
        // The same event with other bytes, or in another place of its history.
        found.push(difference("different", version, row.eventId, described(event, row)));
        at += 1;
      } else {
        const isHole = keptIds.has(event.eventId);
        const kind = isHole ? "out-of-order" : "different";
        found.push(difference(kind, version, row.eventId, described(event, row)));
        if (!isHole) at += 1;
      }
      continue;
    }
    // Nothing here, or a row that its own hash disowns: what the log has must fit the chain.
    const hash = event && chainHash(previous, version, event);
    const next = byVersion.get(version + 1);
    if (row) {
      const fits = hash?.equals(row.hash) === true;
      const kind = fits ? "row-changed" : "chain-broken";
      found.push(difference(kind, version, row.eventId, "its hash is not that of its content"));
      previous = row.hash;
      if (event) at += 1;
    } else if (event && hash && (!next || next.previousHash.equals(hash))) {
      found.push(difference("missing-in-archive", version, event.eventId, event.type));
      previous = hash;
      at += 1;
    } else {
      const id = event?.eventId ?? "";
      found.push(
        difference("chain-broken", version, id, "a row is gone, and the log has no match"),
      );
      previous = next?.previousHash ?? previous;
      if (event) at += 1;
    }
  }
  return found;
}

const isWhole = (row: Kept, previous: Buffer): boolean =>
  row.previousHash.equals(previous) && chainHash(previous, row.version, row).equals(row.hash);

function described(event: Told, row: Kept): string {
  if (event.eventId !== row.eventId) return `the log has ${event.eventId} there (${event.type})`;
  const parts = [
    ...(event.type === row.type ? [] : ["type"]),
    ...(event.headers === row.headers ? [] : ["headers"]),
    ...(event.body.equals(row.body) ? [] : ["body"]),
  ];
  return `the same event with another ${parts.join(", ")}`;
}
