/** What a run holds while it lives: its leases and its work item, renewed together. */
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import { type Lease, leaseTtlMs, renewEveryMs } from "../lease/lease.ts";
import type { Engine } from "./engine.ts";
import type { Delivery } from "./work-queue.ts";

export type Hold = {
  /** Aborts with the Failure `lease-lost` when one of the leases may have ended. */
  readonly signal: AbortSignal;
  /** Adds leases that are renewed from now on. */
  add(leases: readonly Lease[]): void;
  /** Calls back at every heartbeat. */
  onBeat(call: () => void): void;
  /** Something may still be at work under these leases: `release` leaves them to end by themselves. */
  abandon(): void;
  /** Gives everything back, newest first; waiters are woken by that. Never throws. */
  release(): Promise<void>;
};

/** Without an answer for this long the lease counts as lost, well before it ends at the broker. */
const silenceMaxMs = (leaseTtlMs / 3) * 2;
const repeatMs = 2_000;
/** Most runs are over by then, so that nothing need be said of their items. */
const firstWordMs = 500;

/**
 * Starts renewing, so that the item comes back only after its lease has ended. Of a worker that dies within the first
 * half second it comes back a moment earlier, is given back, and is tried again 2 s later.
 */
export function startHold(engine: Engine, delivery: Delivery, first: Lease): Hold {
  let leases: Lease[] = [first];
  let renewedAt = engine.clock.now().getTime();
  let released = false;
  let abandoned = false;
  const lost = new AbortController();
  const calls: (() => void)[] = [];
  let cancel = engine.clock.after(firstWordMs, () => {
    delivery.working();
    cancel = engine.clock.after(renewEveryMs - firstWordMs, beat);
  });

  async function renew(): Promise<Failure | undefined> {
    try {
      const renewed = await Promise.all(leases.map((lease) => engine.leases.renew(lease)));
      const keys = new Set(renewed.map(({ key }) => key));
      leases = [...renewed, ...leases.filter(({ key }) => !keys.has(key))];
      renewedAt = engine.clock.now().getTime();
      return undefined;
    } catch (error) {
      return classify(error);
    }
  }
  function beat(): void {
    void renew().then((failure) => {
      if (released) return;
      const silentMs = engine.clock.now().getTime() - renewedAt;
      if (failure && (failure.code !== "log-unavailable" || silentMs >= silenceMaxMs)) {
        lost.abort(failureOf("lease-lost", failure.message, { cause: failure }));
        return;
      }
      // After the leases: so that they have ended when the item of a lost worker comes back.
      if (!failure) delivery.working();
      for (const call of calls) call();
      cancel = engine.clock.after(failure ? repeatMs : renewEveryMs, beat);
    });
  }
  return {
    signal: lost.signal,
    add(more) {
      const keys = new Set(more.map(({ key }) => key));
      leases = [...leases.filter(({ key }) => !keys.has(key)), ...more];
    },
    abandon() {
      abandoned = true;
    },
    onBeat: (call) => void calls.push(call),
    async release() {
      released = true;
      cancel();
      if (abandoned) return;
      for (const lease of leases.toReversed()) {
        await engine.leases.release(lease).catch((error: unknown) => {
          engine.logger.warn({ err: error, key: lease.key }, "a lease ends by itself, unreleased");
        });
      }
    },
  };
}
