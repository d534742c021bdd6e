/** Output: tables and words for people, JSON for programs. Results go to stdout, everything else to stderr. */
import { classify, type Failure } from "@chom/shared/failure/failure";
import { scrub, scrubLine } from "@chom/shared/secrets/scrub";
import Table from "cli-table3";
import { remedyOf } from "./exit-codes.ts";

/** A column: its heading and what it shows of a row. */
export type Column<Row> = readonly [heading: string, shows: (row: Row) => string];

/** `SITE_STATUS_ACTIVE` → `active`. */
export const word = (value: string): string =>
  value.replace(/^[A-Z]+(?:_[A-Z]+)*?_(?:STATUS|KIND|STATE)_/, "").toLowerCase();

/** `2026-01-31 12:00:00Z`, or a dash. */
export const time = (at: Date | undefined): string =>
  at
    ? at
        .toISOString()
        .replace("T", " ")
        .replace(/\.\d+Z$/, "Z")
    : "–";

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `1.5 GiB`. */
export function size(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export type Output = ReturnType<typeof output>;

/** Where a command writes. What came over the wire is scrubbed before a terminal sees it. */
export function output(streams: {
  json: boolean;
  isTerminal: boolean;
  out: (text: string) => void;
  err: (text: string) => void;
}) {
  const { json, isTerminal, out, err } = streams;
  const safe = (text: string) => scrub(text, 100_000);

  function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    if (!isTerminal) {
      for (const row of rows) out(`${columns.map(([, of]) => scrubLine(of(row))).join("\t")}\n`);
      return;
    }
    const made = new Table({
      head: columns.map(([heading]) => heading),
      style: { head: [], border: [] },
      chars: { mid: "", "left-mid": "", "mid-mid": "", "right-mid": "" },
    });
    for (const row of rows) made.push(columns.map(([, of]) => safe(of(row))));
    out(`${made.toString()}\n`);
  }

  return {
    json,
    isTerminal,
    /** One thing: a JSON document, or its fields under each other. */
    one<Row>(row: Row, columns: readonly Column<Row>[], toJson: (row: Row) => unknown): void {
      if (json) return void out(`${JSON.stringify(toJson(row))}\n`);
      const width = Math.max(...columns.map(([heading]) => heading.length));
      for (const [heading, of] of columns) {
        const shown = of(row);
        if (shown !== "") out(`${heading.padEnd(width)}  ${safe(shown)}\n`);
      }
    },
    /** Many things: one JSON array, or a table. */
    many<Row>(
      rows: readonly Row[],
      columns: readonly Column<Row>[],
      toJson: (row: Row) => unknown,
    ): void {
      if (json) out(`${JSON.stringify(rows.map(toJson))}\n`);
      else if (rows.length === 0) err("none\n");
      else table(rows, columns);
    },
    /** One of a stream: a line of JSON, or a line of text. */
    each<Row>(row: Row, shows: (row: Row) => string, toJson: (row: Row) => unknown): void {
      out(json ? `${JSON.stringify(toJson(row))}\n` : `${safe(shows(row))}\n`);
    },
    /** A word to the person, never part of the result; silent with --json. */
    note(text: string): void {
      if (!json) err(`${safe(text)}\n`);
    },
    /** A failure with its code and what to do; JSON on stderr with --json. */
    failure(error: unknown): Failure {
      const failure = classify(error);
      const { kind, code, message, violations } = failure;
      const remedy = remedyOf(failure);
      if (json) {
        const shown = { code, kind, message: scrubLine(message), violations, remedy };
        err(`${JSON.stringify({ error: shown })}\n`);
        return failure;
      }
      if (violations.length === 0) err(`error: ${scrubLine(message)} (${code})\n`);
      else {
        err(`error: the request was refused (${code})\n`);
        for (const { field, description } of violations) {
          err(`  ${scrubLine(field)} ${scrubLine(description)}\n`);
        }
      }
      if (remedy) err(`remedy: ${remedy}\n`);
      return failure;
    },
  };
}
