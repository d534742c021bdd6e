import { ChainSpec, SkipPolicy } from "@chom/proto/chom/scheduler/v1/flows";
import { decide, fold } from "@chom/shared/aggregate/aggregate";
import fc from "fast-check";
import { expect, test } from "vitest";
import { chain, type LinkEnd, linkId } from "./chain.ts";
import { filled } from "./reactors.ts";

const chainId = "chain-1";
const meta = { time: new Date(0) } as never;
type State = ReturnType<typeof chain.initial>;
const after = (state: State, events: ReturnType<typeof decide>) =>
  fold(
    chain,
    events.map(({ name, data }) => ({ name, data, meta })),
    state,
  );

function started(links: number, onSkip: SkipPolicy): State {
  const spec = ChainSpec.fromPartial({
    ...{ links: Array.from({ length: links }, () => ({ jobName: "backup.clean" })), onSkip },
  });
  const begin = { chainId, spec, specJson: JSON.stringify(ChainSpec.toJSON(spec)), batchId: "" };
  return after(chain.initial(), decide(chain, chain.initial(), "start", begin));
}

const outcomes = fc.constantFrom<LinkEnd["outcome"]>(
  ...([
    "completed",
    "completed",
    "completed",
    "skipped",
    "failed",
    "cancelled",
    "refused",
  ] as const),
);
const told = fc.record({ position: fc.nat({ max: 5 }), outcome: outcomes });

test("whatever ends are told, in whatever order and how often, links start once each and in order", () => {
  const policies = fc.constantFrom(SkipPolicy.CONTINUE, SkipPolicy.STOP);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      policies,
      fc.array(told, { maxLength: 40 }),
      (links, onSkip, ends) => {
        let state = started(links, onSkip);
        const starts = [0];
        // The model: which link is waited for, and whether the chain goes on.
        let at = 0;
        let status = "running";
        for (const { position, outcome } of ends) {
          const end = {
            chainId,
            jobId: linkId(chainId, position),
            outcome,
            siteId: "",
            serverId: "",
          };
          const events = decide(chain, state, "end", end);
          starts.push(
            ...events.flatMap(({ name, data }) =>
              name === "ChainLinkStarted" ? [(data as { position: number }).position] : [],
            ),
          );
          state = after(state, events);
          const isGood = outcome === "completed" || outcome === "skipped";
          const isMine =
            position === at && (status === "running" || (status === "failed" && isGood));
          if (!isMine) expect(events).toEqual([]);
          else if (!isGood) status = "failed";
          else if (at + 1 === links || (outcome === "skipped" && onSkip === SkipPolicy.STOP)) {
            status = "completed";
          } else {
            at += 1;
            status = "running";
          }
          expect(state.status).toBe(status);
        }
        expect(starts).toEqual(starts.map((_, index) => index));
      },
    ),
    { numRuns: 500 },
  );
});

test("the next link gets the site and the server of the one before", () => {
  const end = { chainId, jobId: linkId(chainId, 0), outcome: "completed" as const };
  const events = decide(chain, started(2, SkipPolicy.CONTINUE), "end", {
    ...{ ...end, siteId: "site-1", serverId: "server-1" },
  });
  expect(events).toMatchObject([
    { name: "ChainLinkStarted", data: { position: 1, siteId: "site-1", serverId: "server-1" } },
  ]);
  const known = { siteId: "site-1", serverId: "server-1" };
  expect(filled('{"siteId":"$site","on":["$server","x"]}', known)).toBe(
    '{"siteId":"site-1","on":["server-1","x"]}',
  );
});

test("a skipped link lets the chain go on or stops it, as its policy says", () => {
  const end = { chainId, jobId: linkId(chainId, 0), siteId: "", serverId: "" };
  const namesOf = (onSkip: SkipPolicy) => {
    const events = decide(chain, started(2, onSkip), "end", { ...end, outcome: "skipped" });
    return [events.map(({ name }) => name), after(started(2, onSkip), events).status];
  };
  expect(namesOf(SkipPolicy.CONTINUE)).toEqual([
    ["ChainLinkSkipped", "ChainLinkStarted"],
    "running",
  ]);
  expect(namesOf(SkipPolicy.STOP)).toEqual([["ChainLinkSkipped", "ChainCompleted"], "completed"]);
});
