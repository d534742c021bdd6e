import { expect, test } from "vitest";
import { defaultSchedules } from "./defaults.ts";

test("the four recommended schedules of the spec are there, in UTC", () => {
  const told = defaultSchedules.map(({ cron, jobName, zone }) => `${cron} ${zone} ${jobName}`);
  expect(told).toEqual([
    "0 2 * * * UTC backup.database",
    "0 3 * * SUN UTC backup.clean",
    "0 4 * * * UTC key.rotate-due",
    expect.stringMatching(/^\*\/5 \* \* \* \* UTC /),
  ]);
});
