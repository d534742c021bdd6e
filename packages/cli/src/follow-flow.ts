/** Following a chain or a batch to its end: a percentage on a terminal, a line for each change elsewhere. */
import type { Batch, Chain } from "@chom/proto/chom/scheduler/v1/flows";
import ora from "ora";
import { exitCodes } from "./exit-codes.ts";
import type { Session } from "./command.ts";
import type { Output } from "./output.ts";

const lookEveryMs = 500;
/** Services may restart meanwhile. */
const failuresMax = 10;

/** How far a batch is, in words. */
export function batchProgress(batch: Batch): string {
  const { percent, jobsCount, completedCount, skippedCount, failedCount, cancelledCount } = batch;
  const counts = [
    [completedCount, "completed"],
    [skippedCount, "skipped"],
    [failedCount, "failed"],
    [cancelledCount, "cancelled"],
  ] as const;
  const told = counts.flatMap(([count, what]) => (count > 0 ? [`${count} ${what}`] : []));
  return `${percent} % of ${jobsCount}${told.length > 0 ? `: ${told.join(", ")}` : ""}`;
}

/** Where a chain is, in words. */
export const chainProgress = ({ status, position, linksCount, jobId }: Chain): string =>
  `link ${position + 1} of ${linksCount} (${jobId}) ${status}`;

async function follow<Shown>(
  output: Output,
  look: () => Promise<Shown>,
  says: (shown: Shown) => string,
  isOver: (shown: Shown) => boolean,
): Promise<Shown> {
  const canSpin = output.isTerminal && process.stderr.isTTY && process.stderr.columns > 0;
  const spinner = canSpin && !output.json ? ora({ discardStdin: false }).start() : undefined;
  let before = "";
  for (let failures = 0; ; ) {
    try {
      const shown = await look();
      failures = 0;
      const now = says(shown);
      if (spinner) spinner.text = now;
      else if (now !== before) output.note(now);
      before = now;
      if (isOver(shown)) {
        spinner?.stopAndPersist();
        return shown;
      }
    } catch (error) {
      failures += 1;
      const isCut = error instanceof Error && "kind" in error && error.kind === "transient";
      if (isCut && failures <= failuresMax) continue;
      spinner?.stop();
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

/** Follows a chain until it ended; answers it and the exit code. */
export async function followChain({ clients, output }: Session, chainId: string, from = 0n) {
  const look = async () => {
    const { chain } = await clients.flows().getChain({ chainId, minPosition: from });
    if (!chain) throw new Error("the service answered without the chain");
    return chain;
  };
  const chain = await follow(output, look, chainProgress, ({ status }) => status !== "running");
  return { chain, code: chain.status === "completed" ? exitCodes.ok : exitCodes.jobFailed };
}

/** Follows a batch until it is finished; answers it and the exit code. */
export async function followBatch({ clients, output }: Session, batchId: string, from = 0n) {
  const look = async () => {
    const { batch } = await clients.flows().getBatch({ batchId, minPosition: from });
    if (!batch) throw new Error("the service answered without the batch");
    return batch;
  };
  const batch = await follow(output, look, batchProgress, ({ status }) => status === "finished");
  const isGood = batch.failedCount === 0 && !batch.cancelled;
  return { batch, code: isGood ? exitCodes.ok : exitCodes.jobFailed };
}
