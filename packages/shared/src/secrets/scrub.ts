/** The scrubber: takes key material and terminal tricks out of text before it is stored, logged or shown. */

const mask = "[secret]";

/** Shapes of secrets. Each is linear: no nested repetition, so that hostile output cannot stall it. */
const shapes: readonly (readonly [RegExp, string])[] = [
  // A block without its end is cut to the end of the text: better too much than half a key.
  [
    /-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|CERTIFICATE REQUEST)-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,60}-----|$)/g,
    mask,
  ],
  [/AGE-SECRET-KEY-(?:PQ-)?1[A-Z0-9]{10,}/gi, mask],
  [/\beyJ[\w-]{4,}\.eyJ[\w-]{4,}\.[\w-]*/g, mask],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g, mask],
  [
    /\b(?:gh[pousr]_\w{30,}|github_pat_\w{30,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|chom_[\w-]{51})/g,
    mask,
  ],
  [/\bS[UAOCNXP][A-Z2-7]{56}\b/g, mask],
  [/\b(bearer|basic)(\s+)[\w.+/=~-]{8,}/gi, `$1$2${mask}`],
  // user:password@ of a URL, with the host left for people.
  [/(\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s:/@]{0,128}:)[^\s/@]{1,256}@/gi, `$1${mask}@`],
  [
    /(["']?\b[\w-]{0,40}(?:passw(?:or)?d|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?key)\b["']?\s{0,3}(?:=>|[=:])\s{0,3})("[^"\n]{0,512}"?|'[^'\n]{0,512}'?|[^\s,;&"']{1,512})/gi,
    `$1${mask}`,
  ],
];

/** Escape sequences, control bytes and bidirectional marks, which could repaint a terminal or hide text. */
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

const escaped = (char: string): string =>
  char === "\r" ? "\\r" : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;

/**
 * Text that is safe to keep and to print: secrets of known shapes are `[secret]`, control characters but newline and
 * tab are written as `\x1b`, and of a long text the last `max` characters remain (default 4096), because errors
 * stand at the end. A second net: what must stay secret is a `Secret` and does not get this far.
 */
export function scrub(text: string, max = 4096): string {
  // Shapes are looked for in more than is kept, so that a cut cannot hide the beginning of a key.
  const considered = text.length > max + 16_384 ? text.slice(-(max + 16_384)) : text;
  let clean = considered;
  for (const [shape, replacement] of shapes) clean = clean.replace(shape, replacement);
  clean = clean.replace(unprintable, escaped);
  return clean.length > max ? `…${clean.slice(-(max - 1))}` : clean;
}

/** As `scrub`, on one line of at most `max` characters (default 500): for messages of errors. */
export const scrubLine = (text: string, max = 500): string =>
  scrub(text.replace(/\s*\r?\n\s*/g, " ").trim(), max);
