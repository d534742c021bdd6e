import fc from "fast-check";
import { expect, test } from "vitest";
import { fakeClock } from "../testing/fake-clock.ts";
import { memoryLimitStore } from "../testing/memory-limit-store.ts";
import { circuits } from "./circuits.ts";
import { type Limits, limits, type WantedLimit } from "./limits.ts";
import { defaultLimits, ratesOf } from "./named-limits.ts";

const rates = {
  ...defaultLimits,
  provisioning: { count: 3, perMs: 10_000 },
  "acme-account": { count: 2, perMs: 25_000 },
};
const one = { name: "provisioning", key: "s1" } as const;
const other = { name: "acme-account", key: "all" } as const;

const asks = fc.array(
  fc.record({
    waitMs: fc.integer({ min: 0, max: 9_000 }),
    wanted: fc.constantFrom<readonly WantedLimit[]>([one], [other], [one, other], [other, one]),
    atOnce: fc.integer({ min: 1, max: 4 }),
  }),
  { maxLength: 40 },
);

test("no window of a limit ever holds more than its rate, a refusal charges nothing, and its time is no idle promise", async () => {
  await fc.assert(
    fc.asyncProperty(asks, async (steps) => {
      const clock = fakeClock();
      const store = memoryLimitStore();
      const processes = [1, 2].map(() => limits(store, rates, clock));
      const model = new Map<string, number[]>();
      const inWindow = (name: keyof typeof rates, now: number) =>
        (model.get(name) ?? []).filter((at) => at > now - rates[name].perMs).length;
      for (const { waitMs, wanted, atOnce } of steps) {
        await clock.advance(waitMs);
        const now = clock.now().getTime();
        const room = Math.min(...wanted.map(({ name }) => rates[name].count - inWindow(name, now)));
        const answers = await Promise.all(
          Array.from({ length: atOnce }, (_, index) =>
            (processes[index % 2] as Limits).take(wanted),
          ),
        );
        let granted = 0;
        for (const answer of answers) {
          if (answer && "charged" in answer) {
            granted += 1;
            for (const { name } of wanted) model.set(name, [...(model.get(name) ?? []), now]);
          } else if (answer) expect(answer.until.getTime()).toBeGreaterThan(now);
        }
        expect(granted).toBeLessThanOrEqual(Math.max(0, room));
        // Asked alone, whoever finds room gets it.
        if (atOnce === 1) expect(granted).toBe(room > 0 ? 1 : 0);
        for (const { name } of wanted) {
          expect(inWindow(name, now)).toBeLessThanOrEqual(rates[name].count);
        }
      }
    }),
    { numRuns: 100 },
  );
});

type CircuitStep = { waitMs: number; fails: boolean };
const circuitSteps: fc.Arbitrary<CircuitStep[]> = fc.array(
  fc.record({ waitMs: fc.integer({ min: 0, max: 40_000 }), fails: fc.boolean() }),
  { maxLength: 60 },
);

test("a circuit opens after its failures, lets one probe at a time through, and closes on success", async () => {
  const rule = { failures: 3, windowMs: 60_000, openMs: 30_000, probeMs: 20_000 };
  await fc.assert(
    fc.asyncProperty(circuitSteps, async (steps) => {
      const clock = fakeClock();
      const circuit = circuits(memoryLimitStore(), clock, rule);
      let failedAt: number[] = [];
      let openUntil = 0;
      for (const [index, { waitMs, fails }] of steps.entries()) {
        await clock.advance(waitMs);
        const now = clock.now().getTime();
        const by = `job-${index}`;
        const passed = "passes" in (await circuit.pass("s1", by));
        expect(passed).toBe(openUntil <= now);
        if (!passed) continue;
        const isProbe = openUntil > 0;
        if (isProbe) expect(await circuit.pass("s1", "someone-else")).toHaveProperty("until");
        await circuit.settle("s1", by, fails ? "failed" : "worked");
        failedAt = fails ? [...failedAt.filter((at) => at > now - rule.windowMs), now] : [];
        if (!fails) openUntil = 0;
        else if (isProbe || failedAt.length >= rule.failures) openUntil = now + rule.openMs;
      }
    }),
    { numRuns: 200 },
  );
});

test("a probe that says nothing is forgotten", async () => {
  const rule = { failures: 1, windowMs: 60_000, openMs: 30_000, probeMs: 20_000 };
  const clock = fakeClock();
  const circuit = circuits(memoryLimitStore(), clock, rule);
  await circuit.settle("s1", "a", "failed");
  await clock.advance(30_000);
  expect(await circuit.pass("s1", "b")).toEqual({ passes: true });
  await clock.advance(19_000);
  expect(await circuit.pass("s1", "c")).toHaveProperty("until");
  await clock.advance(1_000);
  expect(await circuit.pass("s1", "c")).toEqual({ passes: true });
});

test("a setting changes limits by name, and says what is wrong with it", () => {
  expect(ratesOf("acme-orders=5/1h").provisioning).toEqual(defaultLimits.provisioning);
  expect(ratesOf("acme-orders=5/1h")["acme-orders"]).toEqual({ count: 5, perMs: 3_600_000 });
  for (const bad of ["nothing=1/1s", "acme-orders", "acme-orders=0/1h", "acme-orders=1/32d"]) {
    expect(() => ratesOf(bad), bad).toThrow(bad);
  }
});
