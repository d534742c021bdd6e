/** Watches a SQL dump go by: counts the rows of every table as they are in the dump, and whether it came to its end. */
import { Transform } from "node:stream";
import type { TableRows } from "./manifest.ts";

type DumpCensus = {
  /** Base tables, sorted by name. Names are read byte for byte (latin1). */
  tables: TableRows[];
  /** The tool's own last line was there: it did not die halfway. */
  isComplete: boolean;
};

type Watch = { stream: Transform; census: () => DumpCensus };

const leadBytes = 64;
const insertStart = "INSERT INTO `";
const createStart = "CREATE TABLE `";
const completeStart = "-- Dump completed";

/** Passes a dump of mariadb-dump or mysqldump on unchanged. Memory: one line's head, not one line. */
export function inspectDump(): Watch {
  const reader = dumpReader();
  const stream = new Transform({
    transform(data: Buffer, _encoding, done) {
      reader.add(data);
      done(null, data);
    },
  });
  return { stream, census: reader.census };
}

type Mode = "lead" | "name" | "head" | "rows" | "rest";
const [newline, backtick, quote, backslash, open, close, semicolon] = Buffer.from(
  "\n`'\\();",
) as unknown as [number, number, number, number, number, number, number];

type Reading = {
  rows: Map<string, number>;
  mode: Mode;
  lead: number[];
  lastLead: string;
  isCreate: boolean;
  /** Between two DELIMITER lines stand bodies of triggers and routines; nothing in them is data. */
  isInBlock: boolean;
  name: number[];
  isQuoted: boolean;
  isEscaped: boolean;
  depth: number;
  table: string;
  word: string;
};

function dumpReader() {
  const reading: Reading = {
    rows: new Map(),
    mode: "lead",
    lead: [],
    lastLead: "",
    isCreate: false,
    isInBlock: false,
    name: [],
    isQuoted: false,
    isEscaped: false,
    depth: 0,
    table: "",
    word: "",
  };
  const step = { lead: leadByte, name: nameByte, head: headByte };
  const add = (data: Buffer): void => {
    let at = 0;
    while (at < data.length) {
      if (reading.mode === "rows") at = scanRows(reading, data, at);
      else if (reading.mode === "rest") {
        const end = data.indexOf(newline, at);
        if (end < 0) return;
        at = end + 1;
        reading.mode = "lead";
      } else {
        reading.mode = step[reading.mode](reading, data[at] ?? 0);
        at += 1;
      }
    }
  };
  const census = (): DumpCensus => {
    if (reading.lead.length > 0) endLead(reading);
    const tables = [...reading.rows].map(([name, rows]) => ({ name, rows }));
    return {
      tables: tables.sort((a, b) => (a.name < b.name ? -1 : 1)),
      isComplete: reading.lastLead.startsWith(completeStart),
    };
  };
  return { add, census };
}

/** Notes what a line is by its first bytes. */
function endLead(reading: Reading): void {
  const text = Buffer.from(reading.lead).toString("latin1");
  reading.lead = [];
  if (text !== "") reading.lastLead = text;
  if (text.startsWith("DELIMITER ")) reading.isInBlock = text.trimEnd() !== "DELIMITER ;";
}

function leadByte(reading: Reading, byte: number): Mode {
  const { lead } = reading;
  if (byte === newline) {
    endLead(reading);
    return "lead";
  }
  lead.push(byte);
  if (byte === backtick && !reading.isInBlock) {
    const text = Buffer.from(lead).toString("latin1");
    if (text === insertStart || text === createStart) {
      reading.isCreate = text === createStart;
      reading.lastLead = text;
      reading.lead = [];
      return "name";
    }
  }
  if (lead.length < leadBytes) return "lead";
  endLead(reading);
  return "rest";
}

/** A doubled backtick is one in the name; the byte after a single one belongs to the statement. */
function nameByte(reading: Reading, byte: number): Mode {
  if (reading.isQuoted) {
    if (byte !== backtick) return endName(reading);
    reading.isQuoted = false;
  } else if (byte === backtick) {
    reading.isQuoted = true;
    return "name";
  }
  reading.name.push(byte);
  return "name";
}

function endName(reading: Reading): Mode {
  reading.table = Buffer.from(reading.name).toString("latin1");
  reading.name = [];
  reading.isQuoted = false;
  reading.word = "";
  reading.depth = 0;
  if (!reading.rows.has(reading.table)) reading.rows.set(reading.table, 0);
  return reading.isCreate ? "rest" : "head";
}

/** Column names may come before VALUES, in backticks. */
function headByte(reading: Reading, byte: number): Mode {
  if (byte === backtick) reading.isQuoted = !reading.isQuoted;
  if (reading.isQuoted) return "head";
  reading.word = (reading.word + String.fromCharCode(byte)).slice(-6);
  return reading.word === "VALUES" ? "rows" : "head";
}

/** Reads on from `from` and answers where it stopped. Data is nearly all of a dump, so this one is fast: plain locals. */
function scanRows(reading: Reading, data: Buffer, from: number): number {
  let { isQuoted, isEscaped, depth } = reading;
  let at = from;
  let rows = 0;
  let isOver = false;
  for (; at < data.length && !isOver; at += 1) {
    const byte = data[at];
    if (isQuoted) {
      if (isEscaped) isEscaped = false;
      else if (byte === backslash) isEscaped = true;
      else if (byte === quote) isQuoted = false;
    } else if (byte === quote) isQuoted = true;
    else if (byte === open) {
      if (depth === 0) rows += 1;
      depth += 1;
    } else if (byte === close) depth -= 1;
    else if (byte === semicolon && depth === 0) isOver = true;
  }
  Object.assign(reading, { isQuoted, isEscaped, depth });
  if (isOver) reading.mode = "rest";
  reading.rows.set(reading.table, (reading.rows.get(reading.table) ?? 0) + rows);
  return at;
}
