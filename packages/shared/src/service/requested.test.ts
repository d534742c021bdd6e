import { expect, test } from "vitest";
import type { DispatchCommand } from "./app.ts";
import { asRequested, dispatchRequested } from "./requested.ts";

const command = { jobId: "job-1", options: { tries: 3 } } as DispatchCommand;
const requested = {
  jobId: "job-1",
  options: { queue: "high" },
  causationId: "cause",
  correlationId: "correlation",
} as const;
const dispatcher = (jobId: string) => {
  const seen: DispatchCommand[] = [];
  const dispatch = async (each: DispatchCommand) => {
    seen.push(each);
    return { jobId, position: 7, created: jobId === "job-1" };
  };
  return { seen, dispatch };
};

test("the requested job gets the options it was requested with, any other job its own", async () => {
  const { seen, dispatch } = dispatcher("job-1");
  await asRequested(requested, async () => {
    await dispatchRequested(command, dispatch);
    await dispatchRequested({ ...command, jobId: "job-2" }, dispatch);
  });
  expect(seen.map(({ options }) => options)).toEqual([{ tries: 3, queue: "high" }, { tries: 3 }]);
  expect(seen[0]?.causationId).toBe("cause");
});

test("a requested job whose unique key another one has is refused, so that nobody waits for it", async () => {
  const { dispatch } = dispatcher("job-9");
  const asked = asRequested(requested, () => dispatchRequested(command, dispatch));
  await expect(asked).rejects.toMatchObject({ kind: "rejected", code: "already-pending" });
  expect((await dispatchRequested(command, dispatch)).jobId).toBe("job-9");
});
