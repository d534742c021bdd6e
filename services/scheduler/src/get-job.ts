/** One job: its row, and with its detail everything that its journal or its archive tells. */
import type {
  GetJobDetailRequest,
  GetJobDetailResponse,
  GetJobRequest,
  GetJobResponse,
  Job,
} from "@chom/proto/chom/jobs/v1/jobs";
import { classify, notFound } from "@chom/shared/failure/failure";
import type { JournalEntry } from "@chom/shared/job/journal";
import { openFor } from "@chom/shared/job/payload";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, desc, eq } from "drizzle-orm";
import { entriesOf, journalOf } from "./history/read-history.ts";
import { detailOf } from "./job-detail.ts";
import { messageOf } from "./job-search.ts";
import { changeOf } from "./job-view.ts";
import { maskInput } from "./mask-input.ts";
import { jobList } from "./projections.ts";
import { jobs } from "./tables.ts";

function readRequest(request: GetJobRequest | GetJobDetailRequest) {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  const position = fields.position();
  fields.done();
  return { jobId, position };
}

async function rowOf(app: App, tenant: string, jobId: string): Promise<Job | undefined> {
  const [row] = await app.db
    .select()
    .from(jobs)
    .where(and(eq(jobs.tenant, tenant), eq(jobs.jobId, jobId)))
    .orderBy(desc(jobs.queuedAt))
    .limit(1);
  return row && messageOf(row);
}

/** A job that the read model does not show yet, or no longer, from its journal alone. */
function jobFrom(entries: readonly JournalEntry[], place: { tenant: string; family: string }): Job {
  const [first] = entries;
  const row = Object.assign({}, ...entries.map(changeOf)) as object;
  const blank = { attempts: 0, percent: 0, progress: "", forgotten: false, generation: 1 };
  const failure = { failureCode: "", failureKind: "", failureMessage: "", failureStep: "" };
  const jobId = first?.meta.id ?? "";
  // A journal begins with JobQueued, whose change has every other column.
  return messageOf({ ...blank, ...failure, ...place, jobId, ...row } as Parameters<
    typeof messageOf
  >[0]);
}

function inputOf(app: App, entries: readonly JournalEntry[], tenant: string, jobId: string) {
  const queued = entries.find((entry) => entry.name === "JobQueued");
  try {
    const place = { tenant, jobId, kind: queued?.data.jobName ?? "" };
    const plain = openFor(app.sealer, place, queued?.data.input);
    const input: unknown = JSON.parse(plain.toString());
    return { inputJson: JSON.stringify(maskInput(input)), inputProblem: "" };
  } catch (error) {
    return { inputJson: "", inputProblem: classify(error).code };
  }
}

/**
 * Answers GetJob. A job that the read model has not seen yet is waited for: who was told of it, by its dispatch or its
 * journal, finds it. Failures: "job-not-found", also for jobs of other tenants; "read-model-behind".
 */
export async function getJob(
  app: App,
  request: GetJobRequest,
  { tenant }: Caller,
): Promise<GetJobResponse> {
  const { jobId, position } = readRequest(request);
  await app.seen(jobList.name, position);
  const row = await rowOf(app, tenant, jobId);
  if (row) return { job: row };
  const { at } = await journalOf(app, tenant, jobId);
  await app.seen(jobList.name, at);
  const job = await rowOf(app, tenant, jobId);
  if (!job) throw notFound("job", jobId);
  return { job };
}

/** Answers GetJobDetail. Failure "job-not-found", also for jobs of other tenants. */
export async function getJobDetail(
  app: App,
  request: GetJobDetailRequest,
  { tenant }: Caller,
): Promise<GetJobDetailResponse> {
  const { jobId, position } = readRequest(request);
  await app.seen(jobList.name, position);
  const { family, archived, entries } = await entriesOf(app, tenant, jobId);
  const job = (await rowOf(app, tenant, jobId)) ?? jobFrom(entries, { tenant, family });
  // What hinders it is the input's problem, not the job's.
  await app.sealer.ready(tenant)?.catch(() => {});
  return { job, archived, ...inputOf(app, entries, tenant, jobId), ...detailOf(entries) };
}
