import { defineConfig } from "vitest/config";

const inline = { server: { deps: { inline: [/drizzle-orm/] } } };
// What a real server does is waited for, however slow the machine is: a poll ends when it holds.
const patient = { expect: { poll: { timeout: 30_000, interval: 50 } } };

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          ...inline,
          name: "unit",
          sequence: { groupOrder: 0 },
          include: ["{packages,services}/*/src/**/*.test.ts", "tools/**/*.test.ts"],
          exclude: ["**/*.int.test.ts", "packages/e2e/**", "**/node_modules/**"],
          // Nothing sleeps here; what is bounded is a hang, on a machine that may be busy with much else.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          ...inline,
          ...patient,
          name: "int",
          sequence: { groupOrder: 1 },
          include: ["{packages,services}/*/src/**/*.int.test.ts"],
          exclude: ["packages/e2e/**", "**/node_modules/**"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...inline,
          ...patient,
          name: "e2e",
          sequence: { groupOrder: 2 },
          include: ["packages/e2e/src/**/*.test.ts"],
          exclude: ["**/node_modules/**"],
          testTimeout: 240_000,
          hookTimeout: 300_000,
          // One stack at a time: the machine under test is small, and two took no less time.
          fileParallelism: false,
        },
      },
    ],
  },
});
