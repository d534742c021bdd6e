/** A fresh broker with the project's topology, wide enough for a thousand jobs at once. */
import { connectNats, type Nats } from "@chom/shared/event-log/nats";
import { apply } from "@chom/shared/topology/apply";
import { topology } from "@chom/shared/topology/topology";
import { startNatsServer } from "@chom/stack/nats-server";

export type Broker = { readonly url: string; readonly nats: Nats; stop(): Promise<void> };

/** Starts it; `syncAlways` makes it fsync before every acknowledgement. */
export async function startBroker(syncAlways: boolean): Promise<Broker> {
  const server = await startNatsServer({ syncAlways });
  try {
    const nats = await connectNats({ servers: server.url, name: "bench" });
    const table = topology({ replicas: 1, concurrency: { default: 1_000 } });
    await apply(nats, table, { nowMs: Date.now() });
    return {
      url: server.url,
      nats,
      async stop() {
        await nats.close();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}
