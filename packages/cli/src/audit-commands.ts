/** `chom audit list` and `chom audit verify`: who did what, and whether that record is whole. */
import { AuditEntry, VerifyResponse } from "@chom/proto/chom/audit/v1/audit";
import type { Command } from "commander";
import { connected, contextOption, groupOf, leaf, wholeNumber } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { type Column, time } from "./output.ts";

const columns: readonly Column<AuditEntry>[] = [
  ["number", ({ number }) => String(number)],
  ["at", ({ at }) => time(at)],
  ["actor", ({ actor }) => actor],
  ["action", ({ action }) => action],
  ["outcome", ({ outcome, code }) => `${outcome} ${code}`.trim()],
  ["about", ({ resources }) => [...resources].map((pair) => pair.join("=")).join(" ")],
  ["reason", ({ reason }) => reason],
];

type Listing = { json?: boolean; actor: string; action: string; limit: number };

/** Adds the group `audit`. */
export function auditCommands(program: Command): void {
  const audit = groupOf(program, "audit", "who did what, and who was refused");
  leaf(
    audit,
    "list",
    "List entries of the tenant's audit, oldest first; the last ones when there are more than the limit.",
    "chom audit list\nchom audit list --actor ann --action CreateBackup --limit 500 --json",
  )
    .addOption(contextOption())
    .option("--actor <name>", "only of this actor", "")
    .option("--action <text>", "only actions that contain this", "")
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((options: Listing) =>
      connected(options, async ({ clients, output }) => {
        const { actor, action, limit } = options;
        let rows: AuditEntry[] = [];
        for (let afterPosition = 0n, atEnd = false; !atEnd; ) {
          const wish = { afterPosition, pageSize: 500, actor, action };
          const page = await clients.audit().listEntries(wish);
          rows = [...rows, ...page.entries].slice(-Math.max(1, limit));
          afterPosition = page.nextPosition;
          atEnd = page.atEnd;
        }
        output.many(rows, columns, AuditEntry.toJSON);
      }),
    );
  leaf(
    audit,
    "verify",
    "Recompute the whole chain; exits 1 and names the first entry that is not as it was written.",
    "chom audit verify",
  )
    .addOption(contextOption())
    .action((options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        let last: VerifyResponse | undefined;
        for await (const step of clients.audit().verify({})) {
          last = step;
          if (!step.done) output.note(`${step.verified} entries are whole so far`);
        }
        if (!last?.done) {
          output.note("the verification was cut short: nothing is known");
          return exitCodes.unavailable;
        }
        output.one(last, [["verdict", verdictOf]], VerifyResponse.toJSON);
        return last.brokenNumber === 0n ? exitCodes.ok : exitCodes.failed;
      }),
    );
}

const verdictOf = ({ verified, brokenNumber, problem, anchored }: VerifyResponse): string =>
  brokenNumber === 0n
    ? `all ${verified} entries are as they were written (anchored up to ${anchored})`
    : `broken: entry ${brokenNumber} ${problem}`;
