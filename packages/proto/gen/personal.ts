// Generated from the proto options by tools/gen.ts. Do not edit.

/** JSON names of the fields of each message that hold personal data and are sealed before storing. */
export const personalFields: Readonly<Record<string, readonly string[]>> = {
  "chom.credentials.v1.RegisterServerRequest": ["address"],
  "chom.credentials.v1.ServerRegistered": ["address"],
  "chom.scheduler.v1.ChainStarted": ["specJson"],
  "chom.scheduler.v1.BatchCreated": ["specJson"],
  "chom.scheduler.v1.BatchJobsAdded": ["jobsJson"],
  "chom.scheduler.v1.ScheduleSpec": ["inputJson"],
  "chom.scheduler.v1.ScheduleCreated": ["spec"],
  "chom.scheduler.v1.ScheduleChanged": ["spec"],
};

/** JSON names that some message declares personal or secret: masked wherever an input is shown. */
export const sensitiveFields: readonly string[] = ["address", "inputJson", "jobsJson", "oneTimePassword", "oneTimePrivateKey", "spec", "specJson", "token"];
