/** The event types of a job's journal, from their generated codecs. */
import {
  JobAttemptFailed,
  JobCancelled,
  JobCancelRequested,
  JobCompleted,
  JobDeferred,
  JobFailed,
  JobForgotten,
  JobParked,
  JobProgressed,
  JobQueued,
  JobResumed,
  JobRetried,
  JobSkipped,
  JobStarted,
  JobWaiting,
  StepCompleted,
  StepUndone,
} from "@chom/proto/chom/jobs/v1/journal";
import { eventTypes } from "../aggregate/event-types.ts";

/** Everything that can have happened to a job, by name. */
export const journalEvents = eventTypes({
  JobQueued,
  JobWaiting,
  JobDeferred,
  JobStarted,
  StepCompleted,
  StepUndone,
  JobProgressed,
  JobAttemptFailed,
  JobCompleted,
  JobSkipped,
  JobFailed,
  JobParked,
  JobResumed,
  JobCancelRequested,
  JobCancelled,
  JobRetried,
  JobForgotten,
});
