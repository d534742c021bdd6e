/** A stream outlives the moment at which its caller was let in: the right to it is looked at again while it runs. */
import { setTimeout as sleep } from "node:timers/promises";
import { classify, type Failure } from "../failure/failure.ts";
import { whoWasDenied } from "./denied.ts";
import type { Handling, ServerCall } from "./unary.ts";

const recheckMsDefault = 10_000;
/** A directory that cannot be asked ends no stream at once: a broker that restarts would end them all. */
const missesMax = 3;

type Limit = { readonly signal: AbortSignal; readonly abort: (reason: Failure) => void };

/**
 * Authenticates the call anew every `recheckMs`, and aborts it with what refused it: the token expired or was revoked,
 * its role or permissions changed, or nobody could be asked for three times. The audit knows. Answers how to stop.
 */
export function watchRight(
  { authenticate, audit, recheckMs = recheckMsDefault, logger }: Handling,
  call: ServerCall & { readonly request: unknown },
  limit: Limit,
): () => void {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, limit.signal]);
  const watch = async () => {
    for (let misses = 0; !signal.aborted; ) {
      await sleep(recheckMs, undefined, { signal, ref: false });
      const failure = await authenticate(call, call.getPath()).then(() => undefined, classify);
      if (signal.aborted) return;
      misses = failure?.kind === "transient" ? misses + 1 : 0;
      if (!failure || (failure.kind === "transient" && misses < missesMax)) continue;
      audit?.refused(call.getPath(), call.request, whoWasDenied(failure), failure);
      logger.info({ path: call.getPath(), code: failure.code }, "the right to a stream has ended");
      limit.abort(failure);
    }
  };
  // Only the sleep rejects, when the stream is over.
  watch().catch(() => {});
  return () => over.abort();
}
