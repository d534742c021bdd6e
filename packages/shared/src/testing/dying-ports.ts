/** Ports of a process that dies at its n-th effect: how crashes at every point are tested. */
import { transient } from "../failure/failure.ts";
import type { Engine } from "../job/engine.ts";
import type { Delivery } from "../job/work-queue.ts";

/** `before`: the effect does not happen; `after`: it does; `answer-lost`: it does, and the process lives on with an error. */
export type Death = "before" | "after" | "answer-lost";

export type DyingPorts = {
  /** The same engine whose effects are counted. */
  around(engine: Engine): Engine;
  /** The same item whose acknowledgement is counted. */
  wrap(delivery: Delivery): Delivery;
  /** True once the effect was reached. */
  died(): boolean;
};

/** `die` ends the process for good; by default nothing it waits for ever answers. */
export function dyingPorts(at: number, death: Death, die: () => void = () => {}): DyingPorts {
  let effects = 0;
  let reached = false;
  const never = new Promise<never>(() => {});
  const isDead = () => reached && death !== "answer-lost";
  const through =
    <Args extends readonly unknown[], Result>(effect: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      if (isDead()) return never;
      effects += 1;
      if (effects !== at) return effect(...args);
      reached = true;
      if (death !== "before") await effect(...args);
      if (death === "answer-lost") throw transient("log-unavailable", "the answer was lost");
      die();
      return never;
    };
  return {
    died: () => reached,
    around: (engine) => ({
      ...engine,
      log: { ...engine.log, append: through(engine.log.append) },
      queue: { ...engine.queue, schedule: through(engine.queue.schedule) },
      // The generic signature survives: the effect is called as it was.
      servers: { ...engine.servers, run: through(engine.servers.run) as never },
      leases: {
        ...engine.leases,
        acquire: through(engine.leases.acquire),
        acquireAll: through(engine.leases.acquireAll),
        release: through(engine.leases.release),
        renew: (lease) => (isDead() ? never : engine.leases.renew(lease)),
      },
    }),
    wrap: (delivery) => ({
      ...delivery,
      ack: through(() => delivery.ack()),
      nak: (delayMs) => void (isDead() || delivery.nak(delayMs)),
      working: () => void (isDead() || delivery.working()),
    }),
  };
}
