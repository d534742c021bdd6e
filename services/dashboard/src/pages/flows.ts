/** Chains and batches, and how far they are. */
import type { Batch, Chain } from "@chom/proto/chom/scheduler/v1/flows";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { jobLink, linkTo, panel, progress, status, table, type Tone } from "../view/parts.ts";
import { type Action, formSecretField, may, type Page } from "../web/page.ts";

const tones: Readonly<Record<string, Tone>> = {
  running: "busy",
  cancelling: "warn",
  completed: "good",
  finished: "good",
  failed: "bad",
  cancelled: "idle",
};

const shownStatus = (text: string): Html => status(tones[text] ?? "idle", text);

const cancelForm = (kind: "chain" | "batch", id: string, page: Page): Value =>
  may(page, "job.cancel") &&
  html`<form method="post" action="/flows">${formSecretField(page)}<input type="hidden" name="${kind}" value="${id}"><button class="quiet" data-confirm="Cancel this ${kind} and its jobs that have not ended?">Cancel</button></form>`;

const named = (name: string, id: string, jobs: string): Html =>
  html`<span class="two"><b>${name === "" ? "without a name" : name}</b><a class="id" href="${jobs}">${id}</a></span>`;

/** How many links have ended well, in percent. */
const chainPercent = ({ status: state, position, linksCount }: Chain): number =>
  state === "completed" ? 100 : Math.round((position / Math.max(1, linksCount)) * 100);

const chainTable = (chains: readonly Chain[], page: Page): Html =>
  table(
    chains,
    [
      { heading: "State", cell: (chain) => shownStatus(chain.status) },
      {
        heading: "Chain",
        cell: ({ name, chainId }) => named(name, chainId, linkTo("/jobs", { chain: chainId })),
      },
      {
        heading: "Link",
        numeric: true,
        cell: ({ position, linksCount }) =>
          `${Math.min(position + 1, linksCount)} of ${linksCount}`,
      },
      {
        heading: "Progress",
        cell: (chain) =>
          progress(chainPercent(chain), `Progress of chain ${chain.name || chain.chainId}`),
      },
      {
        heading: "Job",
        cell: ({ jobId, batchId }) =>
          jobId !== ""
            ? jobLink(jobId)
            : batchId !== "" &&
              html`batch <a class="id" href="${linkTo("/jobs", { batch: batchId })}">${batchId}</a>`,
      },
      {
        heading: "Do",
        cell: (chain) => chain.status === "running" && cancelForm("chain", chain.chainId, page),
      },
    ],
    { caption: "Chains", empty: "No chain." },
  );

const countsOf = ({
  completedCount,
  skippedCount,
  failedCount,
  cancelledCount,
  jobsCount,
}: Batch): Html =>
  html`${completedCount + skippedCount} of ${jobsCount} done${failedCount > 0 && html`, ${status("bad", `${failedCount} failed`)}`}${cancelledCount > 0 && `, ${cancelledCount} cancelled`}`;

const batchTable = (batches: readonly Batch[], page: Page): Html =>
  table(
    batches,
    [
      { heading: "State", cell: (batch) => shownStatus(batch.status) },
      {
        heading: "Batch",
        cell: ({ name, batchId }) => named(name, batchId, linkTo("/jobs", { batch: batchId })),
      },
      {
        heading: "Progress",
        cell: (batch) =>
          progress(batch.percent, `Progress of batch ${batch.name || batch.batchId}`),
      },
      { heading: "Jobs", cell: countsOf },
      {
        heading: "Do",
        cell: (batch) => batch.status === "running" && cancelForm("batch", batch.batchId, page),
      },
    ],
    { caption: "Batches", empty: "No batch." },
  );

/** `/flows`. */
export async function flowsPage(page: Page): Promise<View> {
  const { services, query } = page;
  const [chainToken, batchToken] = [query.get("chains") ?? "", query.get("batches") ?? ""];
  const [found, batched] = await Promise.all([
    services.flows.listChains({ pageSize: 50, pageToken: chainToken }),
    services.flows.listBatches({ pageSize: 50, pageToken: batchToken }),
  ]);
  const older = (name: string, token: string): Value =>
    token !== "" &&
    html`<p class="pages"><a class="button quiet" href="${linkTo("/flows", { [name]: token })}">Older</a></p>`;
  return {
    ...{ title: "Chains and batches", section: "/flows", topics: ["flows", "jobs"] },
    body: html`${panel("Batches", html`${batchTable(batched.batches, page)}${older("batches", batched.nextPageToken)}`)}
    ${panel("Chains", html`${chainTable(found.chains, page)}${older("chains", found.nextPageToken)}`)}`,
  };
}

/** `POST /flows`. */
export async function actOnFlow({ services, form }: Action): Promise<string> {
  const [chainId, batchId] = [form.get("chain") ?? "", form.get("batch") ?? ""];
  const reason = "asked on the dashboard";
  if (chainId !== "") await services.flows.cancelChain({ chainId, reason });
  else await services.flows.cancelBatch({ batchId, reason });
  return linkTo("/flows", { did: "flow-cancel" });
}
