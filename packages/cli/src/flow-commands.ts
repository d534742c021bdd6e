/** `chom chain …` and `chom batch …`: jobs that belong together. */
import { Job, JobState, ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { Batch, Chain } from "@chom/proto/chom/scheduler/v1/flows";
import { type Command, InvalidArgumentError } from "commander";
import {
  allPages,
  connected,
  contextOption,
  type JobOptions as Common,
  leaf,
  requestIdOf,
  type Session,
  wholeNumber,
} from "./command.ts";
import { jsonOf } from "./dispatch-command.ts";
import { flowFileHelp, pagesOf, stepAt } from "./flow-file.ts";
import { batchProgress, chainProgress, followBatch, followChain } from "./follow-flow.ts";
import { type Column, word } from "./output.ts";

type Options = Common & { limit: number; file: string; moreFollow?: boolean };

const chainColumns: readonly Column<Chain>[] = [
  ["id", ({ chainId }) => chainId],
  ["name", ({ name }) => name],
  ["status", ({ status }) => status],
  ["link", ({ position, linksCount }) => `${position + 1} of ${linksCount}`],
  ["job", ({ jobId }) => jobId],
  ["batch", ({ batchId }) => batchId],
];
const batchColumns: readonly Column<Batch>[] = [
  ["id", ({ batchId }) => batchId],
  ["name", ({ name }) => name],
  ["status", ({ status, cancelled }) => (cancelled ? `${status}, cancelled` : status)],
  ["jobs", batchProgress],
  ["chain", ({ chainId }) => chainId],
];
const jobColumns: readonly Column<Job>[] = [
  ["job", ({ jobId }) => jobId],
  ["name", ({ name }) => name],
  ["state", ({ state }) => word(state)],
  ["failure", ({ failure }) => failure?.code ?? ""],
];

const isGood: readonly JobState[] = [JobState.UNSPECIFIED, JobState.COMPLETED, JobState.SKIPPED];
const jobsShown = 20;

/** Of a batch of thousands people want to see what has not gone well. */
async function showJobs({ clients, output }: Session, of: { chainId?: string; batchId?: string }) {
  const states = of.batchId
    ? Object.values(JobState).filter((state) => !isGood.includes(state))
    : [];
  const wish = ListJobsRequest.fromPartial({ ...of, states, pageSize: jobsShown });
  const { jobs } = await clients.jobs().listJobs(wish);
  if (jobs.length > 0) output.many(jobs, jobColumns, Job.toJSON);
}

const listed = (command: Command): Command =>
  command.addOption(contextOption()).option("--limit <n>", "at most so many", wholeNumber, 50);

function chainCommands(program: Command): void {
  const chain = program.command("chain").description("Jobs one after another.");
  listed(leaf(chain, "list", "List chains, newest first.", "chom chain list --limit 10")).action(
    (options: Options) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients.flows().listChains({ pageSize, pageToken });
          return { rows: page.chains, nextPageToken: page.nextPageToken };
        });
        output.many(rows, chainColumns, Chain.toJSON);
      }),
  );
  leaf(chain, "show <id>", "Show a chain and its jobs.", "chom chain show 0v9… --wait")
    .addOption(contextOption())
    .option("--wait", "follow it to its end")
    .action((chainId: string, options: Options) =>
      connected(options, async (session) => {
        if (options.wait) {
          const { chain: ended, code } = await followChain(session, chainId);
          session.output.one(ended, chainColumns, Chain.toJSON);
          return code;
        }
        const found = await session.clients.flows().getChain({ chainId, minPosition: 0n });
        if (!found.chain) return;
        session.output.one(found.chain, chainColumns, Chain.toJSON);
        if (!session.output.json) await showJobs(session, { chainId });
        session.output.note(chainProgress(found.chain));
      }),
    );
  leaf(
    chain,
    "cancel <id>",
    "Cancel the link that runs; no other starts.",
    "chom chain cancel 0v9…",
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((chainId: string, { reason = "", ...options }: Options) =>
      connected(options, async ({ clients, output }) => {
        await clients.flows().cancelChain({ chainId, reason });
        output.one({ chainId }, [["cancelled", (row) => row.chainId]], (row) => row);
      }),
    );
}

function batchCommands(program: Command): void {
  const batch = program.command("batch").description("Jobs side by side.");
  listed(leaf(batch, "list", "List batches, newest first.", "chom batch list --limit 10")).action(
    (options: Options) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients.flows().listBatches({ pageSize, pageToken });
          return { rows: page.batches, nextPageToken: page.nextPageToken };
        });
        output.many(rows, batchColumns, Batch.toJSON);
      }),
  );
  leaf(
    batch,
    "show <id>",
    "Show a batch and its jobs that have not gone well yet.",
    "chom batch show 0v9… --wait",
  )
    .addOption(contextOption())
    .option("--wait", "follow it to its end")
    .action((batchId: string, options: Options) =>
      connected(options, async (session) => {
        if (options.wait) {
          const { batch: ended, code } = await followBatch(session, batchId);
          session.output.one(ended, batchColumns, Batch.toJSON);
          return code;
        }
        const found = await session.clients.flows().getBatch({ batchId, minPosition: 0n });
        if (!found.batch) return;
        session.output.one(found.batch, batchColumns, Batch.toJSON);
        if (!session.output.json) await showJobs(session, { batchId });
      }),
    );
  leaf(batch, "cancel <id>", "Cancel every job that has not ended.", "chom batch cancel 0v9…")
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((batchId: string, { reason = "", ...options }: Options) =>
      connected(options, async ({ clients, output }) => {
        await clients.flows().cancelBatch({ batchId, reason });
        output.one({ batchId }, [["cancelled", (row) => row.batchId]], (row) => row);
      }),
    );
  addCommand(batch);
}

function addCommand(batch: Command): void {
  leaf(
    batch,
    "add <id>",
    "Add jobs to a batch that has not finished; the file holds a list of steps.",
    "chom batch add 0v9… --file more.json",
  )
    .addOption(contextOption())
    .requiredOption("--file <json>", "the steps as a JSON list: a file, or - for standard input")
    .option("--more-follow", "the batch does not finish before the next add")
    .option("--request-id <id>", "your own id of the request: repeating it adds nothing")
    .addHelpText("after", flowFileHelp)
    .action((batchId: string, options: Options) =>
      connected(options, async ({ clients, output }) => {
        const json = jsonOf(options.file);
        if (!Array.isArray(json)) throw new InvalidArgumentError("the file must hold a list");
        const steps = json.map((step, at) => stepAt(step, `step ${at + 1}`));
        const requestId = requestIdOf(options);
        const pages = pagesOf(steps);
        for (const [at, jobs] of pages.entries()) {
          const moreFollow = at + 1 < pages.length || (options.moreFollow ?? false);
          const id = at === 0 ? requestId : `${requestId}-${at}`;
          await clients.flows().addToBatch({ batchId, requestId: id, jobs, moreFollow });
        }
        const added = { batchId, added: steps.length };
        output.one(added, [["added", (row) => String(row.added)]], (row) => row);
      }),
    );
}

/** Adds `chain` and `batch` to the program. */
export function flowCommands(program: Command): void {
  chainCommands(program);
  batchCommands(program);
}
