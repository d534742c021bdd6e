/** How much is stored: the last sequence of every stream that a request could write to. */
import { readFileSync } from "node:fs";
import { api, connectNats, type Nats, valueOf } from "@chom/shared/event-log/nats";
import { Secret } from "@chom/shared/secrets/secret";
import { inboxPrefix } from "@chom/shared/topology/names";
import type { EmbeddedStack } from "@chom/stack/embedded-stack";

const streams = ["EVENTS", "JOURNAL", "JOBS"];

/** A connection of the one user who may change and read everything. */
export const connectAsTopology = (stack: EmbeddedStack): Promise<Nats> =>
  connectNats({
    servers: stack.nats.url,
    name: "e2e",
    seed: new Secret(readFileSync(stack.identities.seedFiles.topology, "utf8")),
    inboxPrefix: inboxPrefix("topology"),
  });

/** Last sequences by stream. */
export async function storedEntries(stack: EmbeddedStack): Promise<Record<string, number>> {
  const nats = await connectAsTopology(stack);
  try {
    const found: Record<string, number> = {};
    for (const stream of streams) {
      const answer = await api<{ state: { last_seq: number } }>(nats, `STREAM.INFO.${stream}`);
      found[stream] = valueOf(answer, `reading ${stream}`).state.last_seq;
    }
    return found;
  } finally {
    await nats.close();
  }
}
