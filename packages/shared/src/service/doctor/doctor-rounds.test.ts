import { expect, test } from "vitest";
import type { DoctorCheck, Found } from "./check.ts";
import { tally } from "./doctor-rounds.ts";

const check = (name: string): DoctorCheck => ({ name, run: async () => [] });
const finding = (of: string, severity: Found["severity"]): Found => ({
  ...{ check: of, severity, subject: "x", message: "", remedy: "" },
});

test("each check is counted by severity, and one that found nothing is a zero; information is no finding", () => {
  const found = [finding("a", "critical"), finding("a", "critical"), finding("a", "info")];
  expect(tally([check("a"), check("b")], found)).toEqual([
    { value: 0, labels: { check: "a", severity: "warning" } },
    { value: 2, labels: { check: "a", severity: "critical" } },
    { value: 0, labels: { check: "b", severity: "warning" } },
    { value: 0, labels: { check: "b", severity: "critical" } },
  ]);
});
