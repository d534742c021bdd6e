/** A job whose effect is an entry on a receiving side that knows idempotency keys, as real receiving sides do. */
import { closeSync, existsSync, openSync, readdirSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { aggregate } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { type Abandoned, type Done, type FailureReport, job } from "../job/job.ts";

export type ChaosInput = { readonly id: string; readonly waitMs: number };
const inputCodec = {
  $type: "test.v1.ChaosInput",
  fromJSON: (json: { id?: unknown; waitMs?: unknown }): ChaosInput => ({
    id: String(json.id ?? ""),
    waitMs: Number(json.waitMs ?? 0),
  }),
  toJSON: ({ id, waitMs }: ChaosInput): unknown => ({ id, waitMs }),
};
type Text = { readonly text: string };
const textCodec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: { text?: unknown }): Text => ({ text: String(json.text ?? "") }),
  toJSON: ({ text }: Text): unknown => ({ text }),
});
const happened = eventTypes({ Arrived: textCodec("Arrived"), Failed: textCodec("Failed") });
const deliveries = aggregate({
  name: "backups",
  events: happened,
  initial: () => 0,
  evolve: { Arrived: (count) => count + 1, Failed: (count) => count + 1 },
  commands: {
    end: (_: number, { result }: Done<ChaosInput, string>) => happened.Arrived({ text: result }),
    fail: (_: number, { code }: FailureReport<ChaosInput>) => happened.Failed({ text: code }),
    drop: (_: number, { reason }: Abandoned<ChaosInput>) => happened.Failed({ text: reason }),
  },
});

/** Delivers once under a key; a repetition is recognised, and counted as one. */
function deliverOnce(folder: string, key: string): void {
  if (existsSync(`${folder}/${key}`)) {
    closeSync(openSync(`${folder}/${key}.repeated-${process.pid}-${Date.now()}`, "w"));
    return;
  }
  const file = openSync(`${folder}/${key}`, "wx");
  writeSync(file, String(process.pid));
  closeSync(file);
}

/** What arrived at the receiving side. */
export function receivedIn(folder: string): { effects: string[]; repetitions: number } {
  const names = readdirSync(folder);
  const effects = names.filter((name) => !name.includes(".repeated-"));
  return { effects, repetitions: names.length - effects.length };
}

/** Two steps with a wait between them; each delivers under a key of the run. */
export const chaosJob = (folder: string) =>
  job(deliveries, {
    name: "backup.chaos",
    input: inputCodec,
    of: ({ id }) => id,
    done: "end",
    failed: "fail",
    cancelled: "drop",
    queue: "default",
    tries: 50,
    timeoutMs: 60_000,
    backoffMs: [100],
    async work({ waitMs }, run) {
      await run.step("first", async () => deliverOnce(folder, `${run.id}-first`));
      if (waitMs > 0) await sleep(waitMs);
      await run.step("second", async () => deliverOnce(folder, `${run.id}-second`));
      return run.id;
    },
  });
