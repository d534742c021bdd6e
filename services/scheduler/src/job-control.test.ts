import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { jobControl } from "./job-control.ts";

const { JobControlRequested } = jobControl.events;
const wish = (verb: string) => ({ jobId: "j", family: "ssl", verb, actor: "a", reason: "" });

test("asking twice to cancel is asking once", () => {
  expect(given(jobControl).when("request", wish("cancel"))).toEqual([
    { name: "JobControlRequested", data: wish("cancel") },
  ]);
  const asked = given(jobControl, JobControlRequested(wish("cancel")));
  expect(asked.when("request", wish("cancel"))).toEqual([]);
});

test("a job that was retried may be cancelled again", () => {
  const retried = given(
    jobControl,
    JobControlRequested(wish("cancel")),
    JobControlRequested(wish("retry")),
  );
  expect(retried.when("request", wish("cancel"))).toHaveLength(1);
});
