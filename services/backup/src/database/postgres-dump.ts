/** Watches a plain dump of pg_dump go by: counts its tables and rows, and whether it came to its end. */
import { Transform } from "node:stream";
import { failureOf } from "@chom/shared/failure/failure";
import type { Counted } from "./database-tools.ts";

const newline = 10;
const headBytes = 96;
const tailBytes = 16;
const dataComment = "-- Data for Name: ";
const endComment = "-- PostgreSQL database dump complete";

/** Passes a dump on unchanged. Memory: the ends of one line. `counted` throws `dump-incomplete`. */
export function inspectPostgresDump(): { stream: Transform; counted: () => Counted } {
  let [tables, rows] = [0, 0];
  // A COPY counts only behind its comment: the body of a function may hold such a line too.
  let [isInData, isAnnounced, isComplete] = [false, false, false];
  let head: Buffer = Buffer.alloc(0);
  let tail: Buffer = Buffer.alloc(0);

  function line(): void {
    const begins = head.toString("latin1");
    if (isInData) {
      if (begins === "\\.") isInData = false;
      else rows += 1;
    } else if (begins.startsWith(dataComment)) isAnnounced = true;
    else if (isAnnounced && begins.startsWith("COPY ") && ends("FROM stdin;")) {
      [isInData, isAnnounced] = [true, false];
      tables += 1;
    } else if (begins === endComment) isComplete = true;
    // Only comments and psql's own commands follow the end.
    else if (begins !== "" && !/^(?:--|\\unrestrict)/.test(begins)) isComplete = false;
    head = Buffer.alloc(0);
    tail = Buffer.alloc(0);
  }
  const ends = (text: string) => tail.toString("latin1").endsWith(text);

  function hold(part: Buffer): void {
    if (head.length < headBytes) {
      head = Buffer.concat([head, part.subarray(0, headBytes - head.length)]);
    }
    tail = Buffer.concat([tail, part.subarray(-tailBytes)]).subarray(-tailBytes);
  }

  const stream = new Transform({
    transform(data: Buffer, _encoding, done) {
      let at = 0;
      while (at < data.length) {
        const end = data.indexOf(newline, at);
        if (end < 0) break;
        // Rows are nearly all of a dump: nothing of them is kept but whether they are the end mark.
        if (isInData && head.length === 0 && (end - at !== 2 || data[at] !== 92)) rows += 1;
        else {
          hold(data.subarray(at, end));
          line();
        }
        at = end + 1;
      }
      if (at < data.length) hold(data.subarray(at));
      done(null, data);
    },
  });
  return {
    stream,
    counted() {
      if (!isComplete) throw failureOf("dump-incomplete", "the dump ends without its last line");
      return { tables, rows };
    },
  };
}
