/** Watches a tar stream go by: counts what is in it and refuses what must never be unpacked. */
import { Transform } from "node:stream";
import { failureOf } from "@chom/shared/failure/failure";

type TarCensus = {
  /** Files, folders and links. */
  entries: number;
  /** Bytes of all files, as the headers declare them. */
  fileBytes: number;
};

const blockBytes = 512;
const maxEntries = 10_000_000;
const maxLinks = 1_000_000;
const maxDepth = 256;
const maxNameHeaderBytes = 1024 * 1024;

type Watch = { stream: Transform; census: () => TarCensus };

/**
 * Passes a tar on unchanged. Fails with `archive-unsafe` for names that are absolute or climb with `..`, names that lead
 * through a link of the same archive, hard links out of the archive, devices, pipes, and more than ten million entries;
 * with `archive-not-authentic` when it is no whole tar. Symbolic links themselves are data here: the script that unpacks
 * drops those that lead out of the site, and takes setuid from files.
 */
export function inspectTar(): Watch {
  const reader = tarReader();
  const stream = new Transform({
    transform(data: Buffer, _encoding, done) {
      try {
        reader.add(data);
        done(null, data);
      } catch (error) {
        done(error as Error);
      }
    },
    flush(done) {
      done(reader.isComplete() ? null : broken("ends too early"));
    },
  });
  return { stream, census: reader.census };
}

const unsafe = (why: string) => failureOf("archive-unsafe", `the archive holds ${why}`);
const broken = (why: string) => failureOf("archive-not-authentic", `the tar in the archive ${why}`);

function tarReader() {
  let entries = 0;
  let fileBytes = 0;
  let isComplete = false;
  /** Bytes of content, with padding, that come before the next header. */
  let skip = 0;
  /** Content that names the next entry is kept; that of files is not. */
  let naming: { type: string; parts: Buffer[]; bytes: number } | undefined;
  let names: Overrides = {};
  const links = new Set<string>();
  let partial: Buffer = Buffer.alloc(0);

  const content = (data: Buffer): void => {
    if (!naming) return;
    naming.parts.push(data);
    if (skip > 0) return;
    const all = Buffer.concat(naming.parts).subarray(0, naming.bytes);
    names = { ...names, ...readNames(naming.type, all) };
    naming = undefined;
  };
  const header = (block: Buffer): void => {
    if (block.every((byte) => byte === 0)) {
      isComplete = true;
      return;
    }
    if (isComplete) throw broken("goes on after its end");
    const head = parseHeader(block, names);
    skip = Math.ceil(head.bytes / blockBytes) * blockBytes;
    if (nameTypes.has(head.type)) {
      if (head.bytes > maxNameHeaderBytes) throw unsafe("a name that is too long");
      naming = { type: head.type, parts: [], bytes: head.bytes };
      return;
    }
    names = {};
    checkEntry(head);
    checkLinks(head, links);
    entries += 1;
    fileBytes += head.bytes;
    if (entries > maxEntries) throw unsafe("too many entries");
  };
  const add = (data: Buffer): void => {
    let at = 0;
    while (at < data.length) {
      if (skip > 0) {
        const part = data.subarray(at, at + skip);
        skip -= part.length;
        at += part.length;
        content(part);
        continue;
      }
      const part = data.subarray(at, at + blockBytes - partial.length);
      at += part.length;
      partial = partial.length === 0 ? part : Buffer.concat([partial, part]);
      if (partial.length < blockBytes) return;
      const block = partial;
      partial = Buffer.alloc(0);
      header(block);
    }
  };
  return {
    add,
    isComplete: () => isComplete && partial.length === 0 && skip === 0,
    census: (): TarCensus => ({ entries, fileBytes }),
  };
}

type Overrides = { path?: string; linkpath?: string; size?: number };
type Head = { type: string; name: string; link: string; bytes: number };

/** GNU long names and links, pax headers of one entry and of all. */
const nameTypes = new Set(["L", "K", "x", "g"]);
const fileTypes = new Set(["0", "\0", "7"]);
const allowedTypes = new Set([...fileTypes, "1", "2", "5"]);

function parseHeader(block: Buffer, names: Overrides): Head {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (octal(block.subarray(148, 156)) !== sum) throw broken("has a damaged header");
  const type = block.toString("latin1", 156, 157);
  const isUstar = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isUstar ? text(block.subarray(345, 500)) : "";
  const short = text(block.subarray(0, 100));
  const hasContent = fileTypes.has(type) || nameTypes.has(type);
  const size = names.size ?? octal(block.subarray(124, 136));
  return {
    type,
    name: names.path ?? (prefix ? `${prefix}/${short}` : short),
    link: names.linkpath ?? text(block.subarray(157, 257)),
    bytes: hasContent ? size : 0,
  };
}

function checkEntry({ type, name, link }: Head): void {
  if (!allowedTypes.has(type)) throw unsafe("a device, a pipe or an entry of an unknown type");
  checkName(name);
  if (type === "1") checkName(link);
}

/** Whoever unpacks may follow a link that it has just made: nothing may be placed behind one. */
function checkLinks({ type, name, link }: Head, links: Set<string>): void {
  const place = placeOf(name);
  for (let at = place.indexOf("/"); at >= 0; at = place.indexOf("/", at + 1)) {
    if (links.has(place.slice(0, at))) throw unsafe("a name that leads through a link");
  }
  const isLink = type === "2" || (type === "1" && links.has(placeOf(link)));
  if (!isLink) {
    if (links.has(place)) throw unsafe("a link and something else of the same name");
    return;
  }
  links.add(place);
  if (links.size > maxLinks) throw unsafe("too many links");
}

/** One spelling for one place. */
const placeOf = (name: string): string =>
  name
    .split("/")
    .filter((segment) => segment !== "" && segment !== ".")
    .join("/");

function checkName(name: string): void {
  if (name === "" || name.startsWith("/")) throw unsafe("an absolute name");
  if (/^[A-Za-z]:[\\/]/.test(name)) throw unsafe("a name with a drive");
  if (name.includes("\0")) throw unsafe("a name with a NUL");
  const segments = name.split("/");
  if (segments.includes("..")) throw unsafe("a name that climbs out of its folder");
  if (segments.length > maxDepth) throw unsafe("a folder that is too deep");
}

function readNames(type: string, bytes: Buffer): Overrides {
  if (type === "L") return { path: text(bytes) };
  if (type === "K") return { linkpath: text(bytes) };
  // Global pax headers would change all that follows; what we write has none with names.
  const found: Overrides = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString("latin1", at, space));
    if (!(space > at && length > space - at && at + length <= bytes.length)) {
      throw broken("has a damaged extended header");
    }
    const record = bytes.toString("latin1", space + 1, at + length - 1);
    const split = record.indexOf("=");
    const [key, value] = [record.slice(0, split), record.slice(split + 1)];
    if (key.startsWith("GNU.sparse")) throw unsafe("a sparse file");
    if (key === "path" || key === "linkpath") found[key] = value;
    if (key === "size") {
      found.size = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
      if (!Number.isSafeInteger(found.size)) throw broken("has a damaged number");
    }
    at += length;
  }
  if (type === "g" && Object.keys(found).length > 0) throw unsafe("names for all entries at once");
  return found;
}

/** Up to the first NUL; bytes stand for themselves, whatever their encoding. */
function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end < 0 ? field.length : end);
}

function octal(field: Buffer): number {
  if (((field[0] ?? 0) & 0x80) !== 0) {
    // Base 256; a first byte of 0xff would make it negative.
    const large = Number(BigInt(`0x${field.subarray(1).toString("hex")}`));
    if (field[0] === 0x80 && Number.isSafeInteger(large)) return large;
    throw broken("has a damaged number");
  }
  const digits = text(field).trim();
  const isOctal = /^[0-7]*$/.test(digits);
  const value = isOctal ? Number.parseInt(digits || "0", 8) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < 0) throw broken("has a damaged number");
  return value;
}
