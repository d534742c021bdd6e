import { playUnprivileged } from "@chom/stack/demo/unprivileged";
import { expect, test } from "vitest";

test("the demo without root shows what an honest SSH host can show, and says what it leaves out", async () => {
  const facts = await playUnprivileged();
  expect(facts.comparisons.filter(({ held }) => !held)).toEqual([]);
  expect(facts.comparisons).toHaveLength(4);
  expect(facts.leavesOut.join("\n")).toContain("backups and restores");
  expect(facts.events.map(({ type }) => type)).toContain("HostKeyMismatched");
});
