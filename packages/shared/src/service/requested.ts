/** How a job runs that was asked for by name, carried past the method that accepts it. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { DispatchOptions } from "../job/job.ts";
import type { DispatchCommand } from "./app.ts";

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

/** The command with what was requested of this very job; any other command as it is. */
export function withRequested(command: DispatchCommand): DispatchCommand {
  const requested = current.getStore();
  if (requested?.jobId !== command.jobId) return command;
  const { options, causationId, correlationId } = requested;
  return { ...command, options: { ...command.options, ...options }, causationId, correlationId };
}
