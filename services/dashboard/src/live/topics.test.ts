import { Event } from "@chom/proto/chom/events/v1/events";
import { WatchJobsResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { expect, test } from "vitest";
import { topicsOfEvent, topicsOfJob } from "./topics.ts";

test("an entry of a job makes the lists, the job, its site and its server stale", () => {
  const entry = WatchJobsResponse.fromPartial({ jobId: "j1", siteId: "s1" });
  expect(topicsOfJob(entry)).toEqual(["jobs", "job:j1", "site:s1"]);
});

test("facts of a site are told to its page, whoever wrote them down", () => {
  const of = (subject: string) => topicsOfEvent(Event.fromPartial({ subject }));
  expect(of("backups/s1")).toEqual(["sites", "backups", "site:s1"]);
  expect(of("certificate/s1")).toContain("site:s1");
  expect(of("schedule-ticks/x")).toEqual(["schedules"]);
  expect(of("server/v1")).toEqual(["servers", "server:v1"]);
  expect(of("job-request/j1")).toEqual([]);
});
