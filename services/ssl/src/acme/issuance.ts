/** From an order to its chain: the parts that poll. Time comes in as `wait`, so that nothing here sleeps by itself. */
import { failureOf } from "@chom/shared/failure/failure";
import type { Authorization, Order } from "./answers.ts";
import type { AcmeClient } from "./client.ts";
import { problemFailure } from "./problem.ts";

export type Polling = {
  readonly signal: AbortSignal;
  /** Resolves after `ms`, or rejects when the signal aborts. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Longest time to poll one thing; default 60 s. Then `acme-server`: the order stays and is resumed later. */
  readonly patienceMs?: number;
};

const firstPauseMs = 250;
const longestPauseMs = 5_000;
const defaultPatienceMs = 60_000;

/** Pauses grow from 0.25 s to 5 s; a Retry-After up to 5 s is honoured, a longer one ends the polling. */
async function poll<T extends { retryAfterMs: number | undefined }>(
  what: string,
  look: () => Promise<T>,
  isDone: (found: T) => boolean,
  { signal, wait, patienceMs = defaultPatienceMs }: Polling,
): Promise<T> {
  let pauseMs = firstPauseMs;
  for (let waitedMs = 0; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const found = await look();
    if (isDone(found)) return found;
    const nextMs = Math.max(pauseMs, found.retryAfterMs ?? 0);
    if (waitedMs + nextMs > patienceMs) {
      throw failureOf(
        "acme-server",
        `${what} is not done after ${Math.round(waitedMs / 1_000)} s`,
        {
          ...(found.retryAfterMs === undefined ? {} : { retryAfterMs: found.retryAfterMs }),
        },
      );
    }
    await wait(Math.min(nextMs, longestPauseMs), signal);
    waitedMs += Math.min(nextMs, longestPauseMs);
  }
}

/** Why an authorisation or its challenge became invalid, as the Failure to throw. */
function whyInvalid({ name, status, http01 }: Authorization) {
  if (http01?.error) return problemFailure(http01.error, "validation");
  return failureOf(
    "acme-unauthorized",
    `the CA says that the authorisation of ${name} is ${status}`,
  );
}

/** Polls until the authorisation is valid. Throws `acme-unauthorized`, `acme-connection`, `acme-dns`, `caa-forbids`, `acme-server`. */
export async function waitForAuthorization(
  ca: AcmeClient,
  url: string,
  polling: Polling,
): Promise<Authorization> {
  const found = await poll(
    "the validation",
    () => ca.authorization(url, polling.signal),
    ({ status }) => status !== "pending",
    polling,
  );
  if (found.status !== "valid") throw whyInvalid(found);
  return found;
}

/** The Failure of an order that became invalid. */
function orderFailure(order: Order) {
  return order.error
    ? problemFailure(order.error, "validation")
    : failureOf("acme-unauthorized", "the CA says that the order is invalid, without a reason");
}

/**
 * Finalizes an order that is ready, or goes on where an earlier run stopped (processing, valid), and gives the chain
 * as PEM. An answer that was lost costs no second order.
 */
export async function obtainChain(
  ca: AcmeClient,
  orderUrl: string,
  csrDer: Buffer,
  polling: Polling,
): Promise<string> {
  const { signal } = polling;
  const look = () => ca.orderStatus(orderUrl, signal);
  const open = await poll("the order", look, ({ status }) => status !== "pending", polling);
  let order = open.status === "ready" ? await ca.finalize(open, csrDer, signal) : open;
  if (order.status === "processing" || order.status === "ready") {
    order = await poll(
      "the issuance",
      look,
      ({ status }) => status !== "processing" && status !== "ready",
      polling,
    );
  }
  if (order.status !== "valid") throw orderFailure(order);
  return ca.download(order, signal);
}
