/** How a job runs that was asked for by name, carried past the method that accepts it. */
import { AsyncLocalStorage } from "node:async_hooks";
import { rejected } from "../failure/failure.ts";
import type { DispatchOptions } from "../job/job.ts";
import type { App, DispatchCommand } from "./app.ts";

export type Requested = {
  readonly jobId: string;
  readonly options: DispatchOptions;
  readonly causationId: string;
  readonly correlationId: string;
};

const current = new AsyncLocalStorage<Requested>();

/** Runs `accept`; a dispatch of the requested job in it gets these options over its own. */
export const asRequested = <T>(requested: Requested, accept: () => Promise<T>): Promise<T> =>
  current.run(requested, accept);

/**
 * Dispatches with what was requested of this very job; any other command as it is. Failure `rejected` "already-pending"
 * when another job has the unique key: whoever asked waits for this job's id, and must hear that it never will be.
 */
export async function dispatchRequested(
  command: DispatchCommand,
  dispatch: App["dispatch"],
): ReturnType<App["dispatch"]> {
  const requested = current.getStore();
  if (requested?.jobId !== command.jobId) return dispatch(command);
  const { options, causationId, correlationId } = requested;
  const own = { ...command.options, ...options };
  const answer = await dispatch({ ...command, options: own, causationId, correlationId });
  if (answer.jobId === command.jobId) return answer;
  throw rejected("already-pending", `job ${answer.jobId} with the same unique key is pending`);
}
