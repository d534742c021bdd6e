import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { jobControl, repeatAfterMs } from "./job-control.ts";

const { JobControlRequested } = jobControl.events;
const wish = (verb: string, aboutSequence = 1n) => ({
  ...{ jobId: "j", family: "ssl", verb, actor: "a", reason: "", aboutSequence },
});

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

test("a second failure may be retried again, the same failure only once", () => {
  const retried = given(jobControl, JobControlRequested(wish("retry", 5n)));
  expect(retried.when("request", wish("retry", 5n))).toEqual([]);
  expect(retried.when("request", wish("retry", 9n))).toHaveLength(1);
});

test("a wish that nobody carried out for a minute may be repeated", () => {
  const asked = given(jobControl, JobControlRequested(wish("retry", 5n)));
  // `given` puts the first event one second into 2026.
  const after = (ms: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, 1) + ms);
  expect(asked.when("request", { ...wish("retry", 5n), now: after(1_000) })).toEqual([]);
  expect(asked.when("request", { ...wish("retry", 5n), now: after(repeatAfterMs) })).toEqual([
    { name: "JobControlRequested", data: wish("retry", 5n) },
  ]);
});
