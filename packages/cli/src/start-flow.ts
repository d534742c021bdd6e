/** Starting chains and batches from files, in as many calls as their size needs. */
import { Batch, Chain } from "@chom/proto/chom/scheduler/v1/flows";
import { type JobOptions as Common, requestIdOf, type Session } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { batchAt, chainAt, pagesOf } from "./flow-file.ts";
import { followBatch, followChain } from "./follow-flow.ts";

const waits = ({ output }: Session, { wait }: Common): boolean =>
  wait ?? (output.isTerminal && !output.json);

/** Starts a chain; with --wait its end is the exit code. */
export async function startChain(session: Session, json: unknown, options: Common) {
  const { clients, output } = session;
  const requestId = requestIdOf(options);
  const spec = chainAt(json);
  const { chainId, position } = await clients.flows().createChain({ requestId, spec });
  if (!waits(session, options)) {
    output.one({ chainId }, [["chain", (row) => row.chainId]], (row) => row);
    output.note(`look at it with: chom chain show ${chainId}`);
    return exitCodes.ok;
  }
  const { chain, code } = await followChain(session, chainId, position);
  output.one(chain, [["chain", (row) => row.chainId]], Chain.toJSON);
  return code;
}

/** Starts a batch of any size; with --wait its end is the exit code. Repeating it with its request id is safe. */
export async function startBatch(session: Session, json: unknown, options: Common) {
  const { clients, output } = session;
  const requestId = requestIdOf(options);
  const spec = batchAt(json);
  const [first = [], ...rest] = pagesOf(spec.jobs);
  const created = await clients.flows().createBatch({
    ...{ requestId, spec: { ...spec, jobs: first }, moreFollow: rest.length > 0 },
  });
  const { batchId } = created;
  let { position } = created;
  for (const [at, jobs] of rest.entries()) {
    const moreFollow = at + 1 < rest.length;
    const page = { batchId, requestId: `page-${at + 2}`, jobs, moreFollow };
    ({ position } = await clients.flows().addToBatch(page));
    if (moreFollow) output.note(`added page ${at + 2} of ${rest.length + 1}`);
  }
  if (!waits(session, options)) {
    output.one({ batchId }, [["batch", (row) => row.batchId]], (row) => row);
    output.note(`look at it with: chom batch show ${batchId}`);
    return exitCodes.ok;
  }
  const { batch, code } = await followBatch(session, batchId, position);
  output.one(batch, [["batch", (row) => row.batchId]], Batch.toJSON);
  return code;
}
