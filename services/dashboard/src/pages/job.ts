/** One job: where it stands, its steps in time, attempts, waits, and its input with secrets masked. */
import {
  type GetJobDetailResponse,
  Job,
  type JobAttempt,
  type JobCancel,
  type JobStep,
  JobState,
  type JobWait,
} from "@chom/proto/chom/jobs/v1/jobs";
import { ago, clock, span } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import {
  facts,
  jobLink,
  jobStatus,
  linkTo,
  panel,
  progress,
  siteLink,
  status,
  type Tone,
} from "../view/parts.ts";
import { type Action, caughtUp, formSecretField, may, type Page } from "../web/page.ts";
import { failureText } from "./jobs.ts";

const open: readonly JobState[] = [
  JobState.QUEUED,
  JobState.SCHEDULED,
  JobState.WAITING,
  JobState.RUNNING,
  JobState.PARKED,
];

function actions(job: Job, page: Page): Value {
  const form = (verb: string, label: string, more: { confirm?: string; kind?: string } = {}) =>
    html`<form method="post" action="/jobs/${encodeURIComponent(job.jobId)}">${formSecretField(page)}<button name="do" value="${verb}" class="${more.kind ?? ""}"${more.confirm !== undefined && html` data-confirm="${more.confirm}"`}>${label}</button></form>`;
  const isFailed = job.state === JobState.FAILED;
  const wishes = [
    isFailed && may(page, "job.retry") && form("retry", "Retry"),
    isFailed &&
      !job.forgotten &&
      may(page, "job.forget") &&
      form("forget", "Forget", {
        confirm: "Take this job out of the list of failed jobs?",
        kind: "quiet",
      }),
    job.state === JobState.PARKED && may(page, "job.retry") && form("resume", "Let it go on"),
    open.includes(job.state) &&
      may(page, "job.cancel") &&
      form("cancel", "Cancel", {
        confirm: "Ask this job to stop? What it did so far is undone where it can be.",
        kind: "danger",
      }),
  ].filter((each) => each !== false);
  return wishes.length > 0 && html`<div class="actions">${wishes}</div>`;
}

type Moment = {
  readonly at: Date;
  readonly tone: Tone;
  readonly what: Value;
  readonly note: Value;
};

const tones: Readonly<Record<string, Tone>> = {
  completed: "good",
  skipped: "good",
  failed: "bad",
  lost: "bad",
  running: "busy",
  parked: "warn",
};

const attempts = (all: readonly JobAttempt[]): Moment[] =>
  all.flatMap((each): Moment[] => {
    const { startedAt, endedAt, outcome, attempt, generation, worker, failure, nextAt } = each;
    if (!startedAt) return [];
    const name =
      generation > 1 ? `Attempt ${attempt} of retry ${generation - 1}` : `Attempt ${attempt}`;
    const began: Moment = { at: startedAt, tone: "busy", what: `${name} began`, note: worker };
    if (!endedAt) return [began];
    const next = nextAt && html` · next at ${clock(nextAt)}`;
    const took = span(endedAt.getTime() - startedAt.getTime());
    return [
      began,
      {
        at: endedAt,
        tone: tones[outcome] ?? "idle",
        what: `${name}: ${outcome}`,
        note: html`after ${took}${failure && html` · ${failureText({ failure })}`}${next}`,
      },
    ];
  });

const output = ({ outputTail }: JobStep): Value =>
  outputTail !== "" &&
  html`<details class="output"><summary>Output</summary><pre tabindex="0">${outputTail}</pre></details>`;

const steps = (all: readonly JobStep[]): Moment[] =>
  all.flatMap((step): Moment[] => {
    if (!step.finishedAt) return [];
    const where = step.serverId !== "" && html` on <span class="id">${step.serverId}</span>`;
    const code = step.exitCode !== 0 && html` · exit code ${step.exitCode}`;
    const done: Moment = {
      at: step.finishedAt,
      tone: "good",
      what: html`Step <b>${step.name}</b>`,
      note: html`${span(step.durationMs)}${where}${code}${output(step)}`,
    };
    if (!step.undoneAt) return [done];
    const { undoFailure: failure } = step;
    return [
      done,
      {
        at: step.undoneAt,
        tone: failure ? "bad" : "idle",
        what: html`Undone: <b>${step.name}</b>`,
        note: failureText({ failure }),
      },
    ];
  });

const waits = (all: readonly JobWait[]): Moment[] =>
  all.flatMap(({ since, until, kind, reason, holderJobId, durationMs }): Moment[] =>
    since && (!until || durationMs >= 100n)
      ? [
          {
            at: since,
            tone: "idle",
            what: html`Waited for ${kind}${reason !== "" && html` <code>${reason}</code>`}`,
            note: html`${until ? span(durationMs) : "until now"}${holderJobId !== "" && html` · held by ${jobLink(holderJobId)}`}`,
          },
        ]
      : [],
  );

function cancelling(cancel: JobCancel | undefined): Moment[] {
  if (!cancel?.requestedAt) return [];
  const said = cancel.reason !== "" && `: ${cancel.reason}`;
  return [
    {
      at: cancel.requestedAt,
      tone: "warn",
      what: html`Cancel asked by ${cancel.actor}${said}`,
      note: "",
    },
    ...(cancel.acknowledgedAt
      ? [
          {
            at: cancel.acknowledgedAt,
            tone: "idle" as const,
            what: "Cancel seen",
            note: cancel.acknowledgedBy,
          },
        ]
      : []),
    ...(cancel.escalatedAt
      ? [
          {
            at: cancel.escalatedAt,
            tone: "bad" as const,
            what: "Cancel escalated",
            note: cancel.escalation,
          },
        ]
      : []),
  ];
}

function ending({ state, endedAt, reason }: Job): Moment[] {
  if (!endedAt) return [];
  const tone: Tone =
    state === JobState.FAILED ? "bad" : state === JobState.CANCELLED ? "idle" : "good";
  return [{ at: endedAt, tone, what: html`Ended`, note: html`${jobStatus(state)} ${reason}` }];
}

function timeline(detail: GetJobDetailResponse, job: Job, now: Date): Html {
  const queued: Moment[] = job.queuedAt
    ? [
        {
          at: job.queuedAt,
          tone: "idle",
          what: `Queued by ${job.actor}`,
          note: `${job.family}.${job.queue}`,
        },
      ]
    : [];
  const all = [
    ...queued,
    ...waits(detail.waits),
    ...attempts(detail.attempts),
    ...steps(detail.steps),
    ...cancelling(detail.cancel),
    ...ending(job),
  ].toSorted((one, other) => one.at.getTime() - other.at.getTime());
  const shown = all.slice(-300);
  return html`${shown.length < all.length && html`<p class="hint">The last 300 of ${all.length} moments.</p>`}<ol class="timeline">${shown.map(
    ({ at, tone, what, note }) =>
      html`<li class="${tone}">${status(tone, "")}<div><p>${what}</p><p class="note">${note}</p></div>${ago(at, now)}</li>`,
  )}</ol>`;
}

function inputOf({ inputJson, inputProblem }: GetJobDetailResponse): Html {
  if (inputJson === "")
    return html`<p class="empty">Not readable here: <code>${inputProblem}</code></p>`;
  let text = inputJson;
  try {
    text = JSON.stringify(JSON.parse(inputJson), null, 2);
  } catch {
    // Shown as it came.
  }
  return html`<pre tabindex="0">${text}</pre><p class="hint">Secrets and personal data are masked by the service that sends it.</p>`;
}

function about(detail: GetJobDetailResponse, job: Job, { now }: Page): Html {
  const belongs = (kind: string, id: string) =>
    id !== "" && html`<a class="id" href="${linkTo("/jobs", { [kind]: id })}">${id}</a>`;
  return facts([
    ["Id", html`<span class="id">${job.jobId}</span>`],
    ["Site", job.siteId !== "" && siteLink(job.siteId, job.siteId)],
    [
      "Server",
      job.serverId !== "" &&
        html`<a class="id" href="${linkTo("/jobs", { server: job.serverId })}">${job.serverId}</a>`,
    ],
    ["Asked by", job.actor],
    ["Attempts", `${job.attempts} of ${job.tries}`],
    ["Retried", job.generation > 1 && `${job.generation - 1} times`],
    ["Queued", ago(job.queuedAt, now)],
    ["Due", job.dueAt && ago(job.dueAt, now)],
    ["Started", job.startedAt && ago(job.startedAt, now)],
    ["Ended", job.endedAt && ago(job.endedAt, now)],
    ["Time limit", detail.timeoutMs > 0n && `${span(detail.timeoutMs)} an attempt`],
    ["Reason", job.reason],
    ["Tags", job.tags.join(", ")],
    ["Chain", belongs("chain", job.chainId)],
    ["Batch", belongs("batch", job.batchId)],
    ["Schedule", belongs("schedule", job.scheduleId)],
    ["Caused by", detail.causationId !== "" && html`<span class="id">${detail.causationId}</span>`],
    ["Told from", detail.archived && "the archive"],
  ]);
}

/** `/jobs/:id`. */
export async function jobPage(page: Page): Promise<View> {
  const { services, params, now } = page;
  const jobId = params["id"] ?? "";
  const detail = await caughtUp(page, (minPosition) =>
    services.jobs.getJobDetail({ jobId, minPosition }),
  );
  const job = Job.fromPartial(detail.job ?? {});
  const running = job.state === JobState.RUNNING;
  return {
    ...{ title: job.name, section: "/jobs", topics: [`job:${jobId}`] },
    body: html`<div class="headline"><p role="status">${jobStatus(job.state)}${running && job.percent > 0 && progress(job.percent, "Progress")}${running && html` <span class="note">${job.progress}</span>`}${job.forgotten && " forgotten"}</p>${actions(job, page)}</div>
    ${job.failure && html`<div class="failed"><p>${failureText(job)}</p>${job.failure.step !== "" && html`<p class="note">in the step <b>${job.failure.step}</b></p>`}</div>`}
    <div class="pair wide">${panel("What happened", timeline(detail, job, now))}<div>${panel("About this job", about(detail, job, page))}${panel("Input", inputOf(detail))}</div></div>`,
  };
}

/** `POST /jobs/:id`. */
export async function actOnJob({ services, form, params }: Action): Promise<string> {
  const jobId = params["id"] ?? "";
  const verb = form.get("do") ?? "";
  const reason = "asked on the dashboard";
  const jobs = { jobIds: [jobId], all: false, filter: undefined };
  const counted = async (steps: AsyncIterable<{ progress: { requested: bigint } | undefined }>) => {
    let n = 0n;
    for await (const { progress } of steps) n = progress?.requested ?? n;
    return { n: String(n), of: "1" };
  };
  const page = `/jobs/${encodeURIComponent(jobId)}`;
  if (verb === "retry")
    return linkTo(page, {
      did: verb,
      ...(await counted(services.jobs.retryJobs({ jobs, reason }))),
    });
  if (verb === "forget")
    return linkTo(page, {
      did: verb,
      ...(await counted(services.jobs.forgetJobs({ jobs, reason }))),
    });
  if (verb === "resume") await services.jobs.resumeJob({ jobId, reason });
  else await services.jobs.cancelJob({ jobId, reason });
  return linkTo(page, { did: verb === "resume" ? "resume" : "cancel" });
}
