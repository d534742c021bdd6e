/** What may end an attempt from outside: its time, a lost lease, a wish to cancel, the end of the process. */
import { classify, Failure, failureOf } from "../failure/failure.ts";
import { attemptMs } from "./engine.ts";
import { recordCancelAcknowledged } from "./outcome-entries.ts";
import type { AttemptSettings } from "./run-settings.ts";

const hintEveryMs = 500;
const listenAfterMs = 250;

const stop = (code: string, message: string) => new Failure("transient", code, message);

/** Everything that ends an attempt from outside, as one signal with the reason. */
export function attemptLimits({ subject, hold, stopping }: AttemptSettings) {
  const { engine, journal } = subject;
  const own = new AbortController();
  const end = (failure: Failure) => own.abort(failure);
  const onLost = () => end(classify(hold.signal.reason));
  const onStopping = () => end(stop("worker-stopping", "the worker is shutting down"));
  hold.signal.addEventListener("abort", onLost, { once: true });
  stopping.addEventListener("abort", onStopping, { once: true });
  if (hold.signal.aborted) onLost();
  if (stopping.aborted) onStopping();
  const timeoutMs = attemptMs(engine, journal.state().queued?.timeoutMs);
  const seconds = timeoutMs / 1_000;
  const cancelTimeout = engine.clock.after(timeoutMs, () =>
    end(failureOf("attempt-timeout", `the attempt took longer than ${seconds} s`)),
  );
  let looked = false;
  const look = () => {
    journal.refresh().then(
      ({ cancel }) => {
        if (!cancel || own.signal.aborted) return;
        end(stop("cancelled", cancel.reason));
        // Whoever ends the job acknowledges it too, should this fail.
        recordCancelAcknowledged(subject).catch(() => undefined);
      },
      // The next heartbeat looks again.
      () => undefined,
    );
  };
  let unhint = () => {};
  // Most attempts are over before anybody could wish something: only longer ones listen.
  const cancelListening = engine.clock.after(listenAfterMs, () => {
    unhint = engine.log.hint("JOURNAL", journal.subject, () => {
      if (looked) return;
      looked = true;
      engine.clock.after(hintEveryMs, () => {
        looked = false;
        if (!own.signal.aborted) look();
      });
    });
    look();
  });
  hold.onBeat(look);
  const clear = () => {
    cancelTimeout();
    cancelListening();
    unhint();
    hold.signal.removeEventListener("abort", onLost);
    stopping.removeEventListener("abort", onStopping);
  };
  return { signal: own.signal, clear };
}
