import { FlowStep, SkipPolicy } from "@chom/proto/chom/scheduler/v1/flows";
import { expect, test } from "vitest";
import { batchAt, chainAt, pagesOf } from "./flow-file.ts";

test("a chain's file becomes its spec, with a batch inside", () => {
  const spec = chainAt({
    ...{ name: "site", queue: "high", onSkip: "stop" },
    links: [
      { job: "site.provision", input: { domain: "example.org" }, options: { tries: 5 } },
      { batch: { allowFailures: true, jobs: [{ job: "backup.create", input: {} }] } },
    ],
    catch: { job: "backup.clean" },
  });
  expect(spec).toMatchObject({
    ...{ name: "site", queue: "high", onSkip: SkipPolicy.STOP },
    links: [
      { jobName: "site.provision", inputJson: '{"domain":"example.org"}', options: { tries: 5 } },
      { batch: { allowFailures: true, jobs: [{ jobName: "backup.create", inputJson: "{}" }] } },
    ],
    catch: { jobName: "backup.clean", inputJson: "{}" },
  });
});

test.for([
  [{ links: [{ jub: "x" }] }, 'the chain.links[0] has no "jub"'],
  [{ link: [] }, 'the chain has no "link"'],
  [{ links: {} }, "the chain.links must be a list"],
  [{ links: [], onSkip: "go" }, "onSkip must be continue or stop"],
  [[], "the chain must be an object"],
])("%j is refused with its place", ([json, why]) => {
  expect(() => chainAt(json)).toThrow(why as string);
});

test("ten thousand jobs become calls of at most a thousand, in their order", () => {
  const jobs = Array.from({ length: 10_000 }, (_, n) => ({ job: "backup.clean", input: { n } }));
  const { jobs: steps } = batchAt({ jobs });
  const pages = pagesOf(steps);
  expect(pages.map(({ length }) => length)).toEqual(Array.from({ length: 10 }, () => 1_000));
  expect(pages.flat()).toEqual(steps);
  const long = FlowStep.fromPartial({ jobName: "x", inputJson: "y".repeat(600_000) });
  expect(pagesOf([long, long]).map(({ length }) => length)).toEqual([1, 1]);
  expect(pagesOf([])).toEqual([[]]);
});
