/** The text header of an age v1 file, read strictly: anything that the format does not allow is refused. */
import { failureOf } from "../failure/failure.ts";

const versionLine = "age-encryption.org/v1";
const columns = 64;
/** Far above any header of ours (one stanza is about 110 bytes); bounds what a hostile file may make us hold. */
const headerLimitBytes = 64 * 1024;

/** One recipient's part of the header: what opens the file key, for whom. */
export type Stanza = { type: string; args: readonly string[]; body: Buffer };

/** A parsed header. `signed` is the part that its MAC covers, up to and including `---`. */
export type Header = {
  stanzas: readonly Stanza[];
  signed: Buffer;
  mac: Buffer;
};

/** Every way in which an archive can be unfit says the same code; the sentence is for people. */
export const notAuthentic = (why: string, cause?: unknown) =>
  failureOf("archive-not-authentic", `the archive ${why}`, cause === undefined ? {} : { cause });

/** Base64 without padding, as the format wants it. */
export const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes).toString("base64").replaceAll("=", "");

/** The part of a header that its MAC covers. */
export function writeHeader(stanzas: readonly Stanza[]): Buffer {
  const lines = stanzas.flatMap(({ type, args, body }) => [
    ["->", type, ...args].join(" "),
    ...wrap(base64(body)),
  ]);
  return Buffer.from([versionLine, ...lines, "---"].join("\n"), "latin1");
}

/** Where the header ends in `bytes` (one past its last line feed), or -1 while the end is not there yet. */
export function headerEnd(bytes: Buffer): number {
  const mark = bytes.indexOf("\n---");
  const feed = mark < 0 ? -1 : bytes.indexOf("\n", mark + 1);
  if (feed < 0 && bytes.length > headerLimitBytes) throw notAuthentic("has an endless header");
  return feed + 1;
}

/** Reads a header that ends with its line feed. Throws `archive-not-authentic`. */
export function parseHeader(bytes: Buffer): Header {
  const text = bytes.toString("latin1");
  const lines = text.slice(0, -1).split("\n");
  if (lines[0] !== versionLine) throw notAuthentic("is not an age v1 file");
  const mac = /^--- ([A-Za-z0-9+/]{43})$/.exec(lines.at(-1) ?? "")?.[1];
  if (mac === undefined) throw notAuthentic("has a malformed header end");
  const stanzas: Stanza[] = [];
  for (let at = 1; at < lines.length - 1; ) {
    const { stanza, next } = parseStanza(lines, at);
    stanzas.push(stanza);
    at = next;
  }
  if (stanzas.length === 0) throw notAuthentic("names no recipient");
  const signed = bytes.subarray(0, text.lastIndexOf("\n---") + "\n---".length);
  return { stanzas, signed, mac: unbase64(mac) };
}

function parseStanza(lines: readonly string[], from: number): { stanza: Stanza; next: number } {
  const [arrow, ...args] = (lines[from] ?? "").split(" ");
  const type = args.shift();
  const isWellFormed = [type, ...args].every((arg) => /^[\x21-\x7e]+$/.test(arg ?? ""));
  if (arrow !== "->" || type === undefined || !isWellFormed) {
    throw notAuthentic("has a malformed recipient line");
  }
  let body = "";
  for (let at = from + 1; at < lines.length - 1; at += 1) {
    const line = lines[at] ?? "";
    if (line.length > columns) throw notAuthentic("has an overlong header line");
    body += line;
    if (line.length < columns)
      return { stanza: { type, args, body: unbase64(body) }, next: at + 1 };
  }
  throw notAuthentic("has a recipient without its last line");
}

/** Strict: no padding, no foreign characters, no bits set beyond the last byte. */
export function unbase64(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (base64(bytes) !== text) throw notAuthentic("has base64 that is not canonical");
  return bytes;
}

/** A last line shorter than 64 columns always ends a body, so a full one is followed by an empty line. */
function wrap(text: string): string[] {
  const count = Math.floor(text.length / columns) + 1;
  return Array.from({ length: count }, (_, at) => text.slice(at * columns, (at + 1) * columns));
}
