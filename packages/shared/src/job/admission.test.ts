import fc from "fast-check";
import { expect, test } from "vitest";
import { fakeClock } from "../testing/fake-clock.ts";
import { admissionTo, inTurns, sharesOf } from "./admission.ts";

const item = (tenant: string, jobId: string) =>
  ({ family: "backup", queue: "default", tenant, jobId }) as const;

test("whatever is queued before, another tenant's job starts within as many completions as there are slots", async () => {
  const size = { min: 1, max: 12 };
  await fc.assert(
    fc.asyncProperty(
      fc.integer(size),
      fc.integer(size),
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 80 }),
      async (slots, workers, backlog, completedBefore) => {
        const queue: { tenant: string; jobId: string }[] = [];
        const held: { tenant: string; jobId: string }[] = [];
        const inHand: { tenant: string; jobId: string }[] = [];
        const clock = fakeClock();
        const ready = (tenant: string) =>
          new Set(
            [...queue, ...inHand].filter((e) => e.tenant === tenant).map(({ jobId }) => jobId),
          );
        const room = {
          slots: async () => slots,
          ready: async (p: { tenant: string }) => ready(p.tenant),
        };
        const admission = admissionTo(room, clock);
        const send = async (tenant: string, jobId: string) => {
          const put = async () => queue.push({ tenant, jobId });
          if (!(await admission.offer(item(tenant, jobId), put))) held.push({ tenant, jobId });
        };
        const take = () => {
          while (inHand.length < Math.min(workers, slots) && queue.length > 0) {
            inHand.push(...queue.splice(0, 1));
          }
        };
        const complete = () => {
          inHand.shift();
          const tenants = [...new Set(held.map(({ tenant }) => tenant))];
          const shares = sharesOf(
            slots,
            tenants.map((tenant) => ({ tenant, ready: ready(tenant).size, waiting: 99 })),
          );
          const lists = tenants.map((tenant) =>
            held.filter((each) => each.tenant === tenant).slice(0, shares.get(tenant)),
          );
          for (const each of inTurns(lists)) {
            held.splice(held.indexOf(each), 1);
            queue.push(each);
          }
          take();
        };
        for (let index = 0; index < backlog; index += 1) await send("a", `a${index}`);
        take();
        for (let index = 0; index < completedBefore; index += 1) complete();
        await send("b", "b0");
        take();
        let completions = 0;
        while (!inHand.some(({ tenant }) => tenant === "b")) {
          complete();
          completions += 1;
          expect(completions).toBeLessThanOrEqual(slots);
        }
        expect(ready("a").size).toBeLessThanOrEqual(slots);
      },
    ),
    { numRuns: 200 },
  );
});

test("what finds no room is not published, and is asked about again only after a while", async () => {
  const clock = fakeClock();
  let asked = 0;
  const full = new Set(["x", "y"]);
  const room = {
    slots: async () => 2,
    ready: async () => {
      asked += 1;
      return full;
    },
  };
  const admission = admissionTo(room, clock);
  const never = () => Promise.reject(new Error("published"));
  for (const jobId of ["1", "2", "3"])
    expect(await admission.offer(item("a", jobId), never)).toBe(false);
  expect(asked).toBe(1);
  full.clear();
  await clock.advance(1_000);
  expect(await admission.offer(item("a", "4"), async () => {})).toBe(true);
});
