/** A whole engine on memory and a clock that stands still: jobs run to their ends without a single real wait. */
import { createHash, randomBytes } from "node:crypto";
import { memoryLog } from "../event-log/memory-log.ts";
import type { EventLog } from "../event-log/event-log.ts";
import { deliver } from "../job/deliver.ts";
import { createEngine, type Engine } from "../job/engine.ts";
import type { AnyJob } from "../job/job.ts";
import { openJournal } from "../job/journal-writer.ts";
import { type JournalEntry, readJournal } from "../job/journal.ts";
import type { Servers } from "../script/servers.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { journalSubject } from "../topology/subjects.ts";
import { type FakeClock, fakeClock, settled } from "./fake-clock.ts";
import { fakeServers } from "./fake-servers.ts";
import { memoryLeases, type MemoryLeases } from "./memory-leases.ts";
import { memoryQueue, type MemoryQueue } from "./memory-queue.ts";

/** Seals by wrapping: reversible, bound to its context, and no secret. */
export const plainSealer: Sealer = {
  ready: () => undefined,
  seal: (tenant, context, plain) => ({
    keyId: "plain",
    ciphertext: Buffer.from(
      JSON.stringify({ tenant, context, plain: Buffer.from(plain).toString("base64") }),
    ),
  }),
  open(tenant, context, { ciphertext }) {
    const box = JSON.parse(ciphertext.toString()) as { plain: string };
    const { plain, ...place } = box;
    if (JSON.stringify(place) !== JSON.stringify({ tenant, context }))
      throw new Error("seal-broken");
    return Buffer.from(plain, "base64");
  },
  fingerprint: (tenant, bytes) => createHash("sha256").update(tenant).update(bytes).digest("hex"),
};

const quiet = () => {};
export const quietLogger = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: quiet,
  child: () => quietLogger,
} as unknown as Logger;

/** What outlives a process: the broker, the servers and time. */
export type World = MemoryLeases & {
  readonly log: EventLog;
  readonly queue: MemoryQueue;
  readonly clock: FakeClock;
};

/** An empty world. */
export function memoryWorld(): World {
  const clock = fakeClock();
  return { clock, log: memoryLog(), queue: memoryQueue(clock), ...memoryLeases(clock) };
}

export type EngineOptions = {
  readonly world?: World;
  readonly servers?: Servers;
  readonly family?: string;
  readonly logger?: Logger;
  /** Puts something around the ports, to make them fail or die. */
  readonly around?: (engine: Engine) => Engine;
};

export type MemoryEngine = {
  readonly engine: Engine;
  readonly world: World;
  /** Takes and handles items, moving time on to whatever is due next, until nothing is. */
  runToEnd(): Promise<void>;
  /** Handles what is ready now, without moving time; answers how many items. */
  runReady(): Promise<number>;
  journal(jobId: string): Promise<readonly JournalEntry[]>;
  state(jobId: string): Promise<ReturnType<Awaited<ReturnType<typeof openJournal>>["state"]>>;
};

const tenant = "tenant-1";
const roundsMax = 2_000;

/** A process of a family in a world; several may share one. */
export function memoryEngine(jobs: readonly AnyJob[], options: EngineOptions = {}): MemoryEngine {
  const world = options.world ?? memoryWorld();
  const { family = "backup", servers = fakeServers({}), logger = quietLogger } = options;
  const made = createEngine({
    family,
    worker: "worker-1",
    jobs,
    ...world,
    servers,
    sealer: plainSealer,
    logger,
    newId: () => randomBytes(12).toString("hex"),
    random: () => 0.5,
  });
  const engine = options.around?.(made) ?? made;
  const stopping = new AbortController().signal;

  /** Handles items together, moving time while they wait for it. */
  async function handle(max: number): Promise<number> {
    const taken = world.queue.ready(max);
    let running = taken.length;
    for (const delivery of taken) {
      deliver(engine, delivery, stopping)
        .catch(() => delivery.nak(1_000))
        .finally(() => {
          running -= 1;
        });
    }
    for (let round = 0; running > 0 && round < roundsMax; round += 1) {
      await settled();
      const nextAt = world.clock.nextAt();
      if (running > 0 && nextAt) {
        await world.clock.advance(nextAt.getTime() - world.clock.now().getTime());
      }
    }
    return taken.length;
  }
  return {
    engine,
    world,
    runReady: () => handle(64),
    async runToEnd() {
      for (let round = 0; round < roundsMax; round += 1) {
        if ((await handle(64)) > 0) continue;
        const nextAt = world.queue.nextAt();
        if (!nextAt) return;
        await world.clock.advance(Math.max(1, nextAt.getTime() - world.clock.now().getTime()));
      }
      throw new Error("the jobs do not come to an end");
    },
    journal: (jobId) => readJournal(engine, journalSubject(tenant, family, jobId)),
    state: async (jobId) => (await openJournal(engine, { tenant, jobId })).state(),
  };
}
