import { expect, test } from "vitest";
import { barChart, distribution, niceCeiling } from "./chart.ts";
import { textOf } from "./html.ts";

const series = [
  { name: "completed", tone: "good" },
  { name: "failed", tone: "bad" },
];

test("the scale ends at a round number that no bar is above", () => {
  expect([0, 1, 4, 7, 11, 42, 101, 999].map(niceCeiling)).toEqual([
    1, 1, 4, 10, 20, 50, 200, 1_000,
  ]);
});

test("each bar is told by its title, and the table has the same numbers", () => {
  const bars = [
    { label: "10:00", values: [3, 1] },
    { label: "10:15", values: [0, 0] },
  ];
  const made = textOf(barChart({ title: "Jobs", bars, series }));
  expect(made).toContain("<title>10:00: 3 completed, 1 failed</title>");
  expect(made).toContain('<th scope="row">10:00</th><td class="number">3</td>');
  expect(made).not.toContain('<th scope="row">10:15</th>');
  // Nothing that a strict content policy forbids.
  expect(made).not.toMatch(/style=|onclick=/);
});

test("no bars, or only empty ones, are drawn too", () => {
  for (const bars of [[], [{ label: "now", values: [0, 0] }]]) {
    expect(textOf(barChart({ title: "Jobs", bars, series }))).not.toContain("NaN");
  }
  expect(textOf(distribution([{ label: "old", value: 0, tone: "bad" }]))).not.toContain("NaN");
});
