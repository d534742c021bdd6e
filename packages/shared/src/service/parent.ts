/** Whoever started this process with a channel to it, as `chom work` does: is told what it works on, and missed. */
import type { WorkReport } from "../job/work-report.ts";

export type Parent = {
  tell(report: WorkReport): void;
  /** Waits until all was handed over, at most 1 s. */
  told(): Promise<void>;
};

const toldMaxMs = 1_000;

/** The parent of this process; one that has none tells nobody. `onGone` is called when it ends before us. */
export function parentOf(self: NodeJS.Process, onGone: () => void): Parent {
  if (!self.channel) return { tell: () => {}, told: async () => {} };
  let last: Promise<void> = Promise.resolve();
  self.once("disconnect", onGone);
  // A channel alone must not keep the process from its end.
  self.channel.unref();
  return {
    tell(report) {
      if (!self.connected) return;
      last = new Promise((done) => {
        // Called with an error when the parent is gone: then there is nobody to tell.
        self.send?.(report, undefined, {}, () => done());
      });
    },
    async told() {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, toldMaxMs);
      await Promise.race([last, late]);
      clearTimeout(timer);
    },
  };
}
