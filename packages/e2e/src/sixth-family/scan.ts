/** The scans of one site: started, then completed or failed; a newer one takes the older one's place. */
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Abandoned, Begun, Done, FailureReport } from "@chom/shared/job/job";
import {
  ScanCompleted,
  ScanFailed,
  type ScanSiteInput,
  ScanStarted,
} from "./gen/chom/scan/v1/events.ts";

export const scanEvents = eventTypes({ ScanStarted, ScanCompleted, ScanFailed });

type Scan = { readonly jobId: string; readonly isRunning: boolean };

/** What the script found. */
type Findings = {
  readonly filesCount: bigint;
  readonly suspiciousPaths: readonly string[];
};

const initial = (): Scan => ({ jobId: "", isRunning: false });
const ended = (state: Scan): Scan => ({ ...state, isRunning: false });

const evolve: Evolve<Scan, typeof scanEvents> = {
  ScanStarted: (_, { jobId }) => ({ jobId, isRunning: true }),
  ScanCompleted: ended,
  ScanFailed: ended,
};

/** Only the scan that began last may end; what an older one has to say is dropped. */
const isLast = (state: Scan, { jobId }: { jobId: string }) =>
  state.isRunning && state.jobId === jobId;

const failed = ({ input, jobId }: Begun<ScanSiteInput>, code: string, message: string) =>
  scanEvents.ScanFailed({ siteId: input.siteId, jobId, code, message });

const commands = {
  begin: (state: Scan, { input, jobId }: Begun<ScanSiteInput>) =>
    state.jobId === jobId ? [] : scanEvents.ScanStarted({ siteId: input.siteId, jobId }),
  complete: (state: Scan, { input, jobId, result }: Done<ScanSiteInput, Findings>) =>
    isLast(state, { jobId })
      ? scanEvents.ScanCompleted({
          siteId: input.siteId,
          jobId,
          filesCount: result.filesCount,
          suspiciousPaths: [...result.suspiciousPaths],
        })
      : [],
  fail: (state: Scan, report: FailureReport<ScanSiteInput>) =>
    isLast(state, report) ? failed(report, report.code, report.message) : [],
  abandon: (state: Scan, facts: Abandoned<ScanSiteInput>) =>
    isLast(state, facts) ? failed(facts, "cancelled", facts.reason) : [],
};

/** One per site; its id is the site's. */
export const scan = aggregate({ name: "scan", events: scanEvents, initial, evolve, commands });
