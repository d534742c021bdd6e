/** The strict reader of what a script printed on descriptor 3. */
import { failureOf } from "../failure/failure.ts";
import type { Fields } from "./script.ts";

const version = "v=1";
const line = /^([A-Za-z][A-Za-z0-9_]{0,63})=(.*)$/u;
/** Everything below a blank but the tab, and DEL. */
const isControl = (char: string): boolean => (char < " " && char !== "\t") || char === "\u007f";
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const broken = (message: string) => failureOf("protocol-error", message);

/** Values by key, in order. The first line must be `v=1`; anything but `key=value` lines is `protocol-error`. */
export function parseLines(bytes: Buffer): ReadonlyMap<string, readonly string[]> {
  const text = decode(bytes);
  if (!text.endsWith("\n")) throw broken("the results do not end with a line break");
  const [first, ...lines] = text.slice(0, -1).split("\n");
  if (first !== version) throw broken(`the results begin with no "${version}"`);
  const values = new Map<string, string[]>();
  for (const [index, each] of lines.entries()) {
    const found = line.exec(each);
    const [key, value] = [found?.[1], found?.[2]];
    if (key === undefined || value === undefined || [...value].some(isControl)) {
      throw broken(`line ${index + 2} of the results is not key=value`);
    }
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return values;
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw failureOf("protocol-error", "the results are not UTF-8", { cause });
  }
}

/** Readers over parsed lines; each throws `protocol-error` when the value is not what it says. */
export function fieldsOf(values: ReadonlyMap<string, readonly string[]>): Fields {
  const single = (key: string): string | undefined => {
    const found = values.get(key) ?? [];
    if (found.length > 1) throw broken(`the result "${key}" is there ${found.length} times`);
    return found[0];
  };
  const text = (key: string): string => {
    const value = single(key);
    if (value === undefined) throw broken(`the result "${key}" is missing`);
    return value;
  };
  return {
    text,
    optional: (key, fallback) => single(key) ?? fallback,
    count(key) {
      const value = text(key);
      const number = Number(value);
      if (/^(?:0|[1-9][0-9]{0,15})$/.test(value) && Number.isSafeInteger(number)) return number;
      throw broken(`the result "${key}" is not a count`);
    },
    flag(key) {
      const value = text(key);
      if (value === "yes" || value === "no") return value === "yes";
      throw broken(`the result "${key}" is neither yes nor no`);
    },
    lines: (key) => values.get(key) ?? [],
    base64(key) {
      const value = text(key);
      if (base64.test(value)) return Buffer.from(value, "base64");
      throw broken(`the result "${key}" is not base64`);
    },
  };
}
