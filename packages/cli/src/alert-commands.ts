/** `chom alert …`: what needs attention. */
import { Alert } from "@chom/proto/chom/scheduler/v1/alerts";
import type { Command } from "commander";
import { allPages, connected, contextOption, leaf, wholeNumber } from "./command.ts";
import { type Column, time } from "./output.ts";

const columns: readonly Column<Alert>[] = [
  ["rule", ({ rule }) => rule],
  ["subject", ({ subject }) => subject],
  ["state", ({ active }) => (active ? "active" : "resolved")],
  ["value", ({ value, threshold }) => `${value} (limit ${threshold})`],
  ["raised", ({ raisedAt }) => time(raisedAt)],
  ["resolved", ({ resolvedAt }) => time(resolvedAt)],
  ["what", ({ message }) => message],
];

type Options = { json?: boolean; all?: boolean; rule: string; limit: number };

/** Adds the group `alert` to the program. */
export function alertCommands(program: Command): void {
  const alert = program.command("alert").description("what needs attention");
  leaf(
    alert,
    "list",
    "List active alerts of the tenant, last raised first.",
    "chom alert list\nchom alert list --all --rule failed-jobs",
  )
    .addOption(contextOption())
    .option("--all", "resolved ones too")
    .option("--rule <rule>", "failed-jobs, queue-depth, queue-busy, processing-time …", "")
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((options: Options) =>
      connected(options, async ({ clients, output }) => {
        const { all = false, rule } = options;
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const wish = { includeResolved: all, rule, minPosition: 0n };
          const page = await clients.alerts().listAlerts({ ...wish, pageSize, pageToken });
          return { rows: page.alerts, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Alert.toJSON);
      }),
    );
}
