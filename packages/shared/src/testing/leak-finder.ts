/** Finds secrets in whatever is written, kept or shown: as they are and in the forms that programs give to text. */

/** A secret, and bytes of it that nothing else has. */
export type Planted = { readonly name: string; readonly bytes: Buffer };

export const planted = (name: string, value: string | Buffer): Planted => ({
  name,
  bytes: Buffer.from(value),
});

/** So much of a secret counts as the secret: what is cut off at either end is still found. */
const coreBytes = 18;
const coreMin = 8;

/** The middle: ends are often common to many, like `-----BEGIN` or `postgres://`. */
function coreOf({ name, bytes }: Planted): Buffer {
  if (bytes.length < coreMin) throw new TypeError(`${name} is too short to be told from chance`);
  const start = Math.max(0, Math.floor((bytes.length - coreBytes) / 2));
  return bytes.subarray(start, start + coreBytes);
}

/** Base64 of bytes that stand anywhere in something longer: the digits that do not depend on their neighbours. */
const base64Of = (bytes: Buffer): string[] =>
  [0, 1, 2].map((shift) => {
    const digits = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    const whole = Math.floor(((shift + bytes.length) * 8) / 6);
    return digits.slice(Math.ceil((shift * 8) / 6), whole);
  });

const isPlain = (code: number): boolean => /[A-Za-z0-9]/.test(String.fromCharCode(code));
const each = (bytes: Buffer, write: (code: number) => string): string =>
  [...bytes].map((code) => (isPlain(code) ? String.fromCharCode(code) : write(code))).join("");
const hexOf = (code: number): string => code.toString(16).padStart(2, "0");

/** Every form, by its name, as latin1 text. */
export function formsOf(bytes: Buffer): readonly (readonly [string, string])[] {
  const text = bytes.toString("latin1");
  const json = JSON.stringify(text).slice(1, -1);
  const url = encodeURIComponent(text);
  const hex = bytes.toString("hex");
  const all: [string, string][] = [
    ["plain", text],
    ["JSON", json],
    ["JSON in JSON", JSON.stringify(json).slice(1, -1)],
    ["JSON with slashes", json.replaceAll("/", "\\/")],
    ["JSON in ASCII", each(bytes, (code) => `\\u00${hexOf(code)}`)],
    ["URL", url],
    ["URL", url.replace(/%../g, (found) => found.toLowerCase())],
    ["URL", each(bytes, (code) => `%${hexOf(code).toUpperCase()}`)],
    ["URL", each(bytes, (code) => `%${hexOf(code)}`)],
    ["form", url.replaceAll("%20", "+")],
    ["hex", hex],
    ["hex", hex.toUpperCase()],
    ["HTML", text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;")],
    ...base64Of(bytes).map((digits): [string, string] => ["base64", digits]),
    ...base64Of(bytes).map((digits): [string, string] => [
      "base64url",
      digits.replaceAll("+", "-").replaceAll("/", "_"),
    ]),
  ];
  return all.filter(([, needle], at) => all.findIndex(([, other]) => other === needle) === at);
}

type Needle = { readonly text: string; readonly told: string };

/** Aho and Corasick's automaton over bytes: one look at each byte, however many needles there are. */
function automatonOf(needles: readonly Needle[]) {
  const size = 1 + needles.reduce((sum, { text }) => sum + text.length, 0);
  const next = new Int32Array(size * 256);
  const fallback = new Int32Array(size);
  const ends = new Map<number, string>();
  let states = 1;
  for (const { text, told } of needles) {
    let state = 0;
    for (const code of Buffer.from(text, "latin1")) {
      state = next[state * 256 + code] ||= states++;
    }
    ends.set(state, told);
  }
  const queue = [0];
  for (let state = queue.shift(); state !== undefined; state = queue.shift()) {
    for (let code = 0; code < 256; code += 1) {
      const at = state * 256 + code;
      const instead = state === 0 ? 0 : (next[(fallback[state] ?? 0) * 256 + code] ?? 0);
      const to = next[at] ?? 0;
      if (to === 0) {
        next[at] = instead;
        continue;
      }
      fallback[to] = instead;
      const inherited = ends.get(instead);
      if (inherited !== undefined && !ends.has(to)) ends.set(to, inherited);
      queue.push(to);
    }
  }
  return { next, ends };
}

/**
 * Makes what looks for all of them at once; it answers `name (form)` of each that is in a text or bytes, each once.
 * Throws a TypeError on a secret of fewer than 8 bytes.
 */
export function leakFinder(secrets: readonly Planted[]): (where: string | Buffer) => string[] {
  const needles = secrets.flatMap((secret) =>
    formsOf(coreOf(secret)).map(([form, text]) => ({ text, told: `${secret.name} (${form})` })),
  );
  const { next, ends } = automatonOf(needles);
  return (where) => {
    const found = new Set<string>();
    let state = 0;
    for (const code of Buffer.isBuffer(where) ? where : Buffer.from(where)) {
      state = next[state * 256 + code] ?? 0;
      const told = ends.get(state);
      if (told !== undefined) found.add(told);
    }
    return [...found];
  };
}
