/** A job for tests on real servers, whose effects are lines in a file: what happened, in which order, how often. */
import { appendFileSync, readFileSync } from "node:fs";
import { aggregate } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { type Abandoned, type Begun, type Done, type FailureReport, job } from "../job/job.ts";
import type { Run } from "../job/run.ts";

/** What the job is asked: whose aggregate, and what to do ("work", "hang"). */
export type LedgerInput = { readonly id: string; readonly doing: string };

const inputCodec = {
  $type: "test.v1.LedgerInput",
  fromJSON: (json: { id?: unknown; doing?: unknown }): LedgerInput => ({
    id: String(json.id ?? ""),
    doing: String(json.doing ?? ""),
  }),
  toJSON: ({ id, doing }: LedgerInput): unknown => ({ id, doing }),
};
type Text = { readonly text: string };
const textCodec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: { text?: unknown }): Text => ({ text: String(json.text ?? "") }),
  toJSON: ({ text }: Text): unknown => ({ text }),
});
const happened = eventTypes({
  Begun: textCodec("Begun"),
  Noted: textCodec("Noted"),
  Ended: textCodec("Ended"),
  Failed: textCodec("Failed"),
  Dropped: textCodec("Dropped"),
});
type Count = number;
const one = (count: Count): Count => count + 1;

const ledger = aggregate({
  name: "backups",
  events: happened,
  initial: (): Count => 0,
  evolve: { Begun: one, Noted: one, Ended: one, Failed: one, Dropped: one },
  commands: {
    begin: (_: Count, { input }: Begun<LedgerInput>) => happened.Begun({ text: input.doing }),
    note: (_: Count, text: string) => happened.Noted({ text }),
    end: (_: Count, { result }: Done<LedgerInput, string>) => [
      happened.Ended({ text: result }),
      happened.Noted({ text: "the end" }),
    ],
    fail: (_: Count, { code }: FailureReport<LedgerInput>) => happened.Failed({ text: code }),
    drop: (_: Count, { reason }: Abandoned<LedgerInput>) => happened.Dropped({ text: reason }),
  },
});

/** Lines of a ledger so far. */
export const ledgerLines = (file: string): string[] =>
  readFileSync(file, "utf8").split("\n").filter(Boolean);

/** The job; its steps write to `file`. */
export function ledgerJob(file: string, tries = 20) {
  const write = (line: string) => appendFileSync(file, `${line}\n`);
  async function work({ id, doing }: LedgerInput, run: Run<typeof ledger>): Promise<string> {
    await run.step("one", async () => write(`${id} one`), {
      undo: async () => write(`${id} undone`),
    });
    await run.record("tell", "note", "half way");
    if (doing === "hang" && run.attempt === 1 && !ledgerLines(file).includes(`${id} go on`)) {
      write(`${id} hangs`);
      await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
    }
    await run.step("two", async () => write(`${id} two`));
    return `attempt ${run.attempt}`;
  }
  return job(ledger, {
    name: "backup.create",
    input: inputCodec,
    of: ({ id }) => id,
    started: "begin",
    done: "end",
    failed: "fail",
    cancelled: "drop",
    queue: "default",
    tries,
    timeoutMs: 60_000,
    backoffMs: [100],
    exclusive: ({ id }) => [`site.${id}`],
    work,
  });
}
