/** Texts that have broken programs like this one: the same seed always makes the same ones. */

/** What an injected command would run; a test looks for it where it must never have been. */
export const baitCommand = "chom-bait";

const commands = [baitCommand, `${baitCommand} x`, "rm -rf /", "id"];
const shells = [
  ...[
    "; X",
    "| X",
    "|| X",
    "& X",
    "&& X",
    "$(X)",
    "`X`",
    "\nX\n",
    "\r\nX\r\n",
    "\u0024{X}",
    "$((1))",
    "<(X)",
  ],
  ...[
    "' ; X ; '",
    '" ; X ; "',
    "'$(X)'",
    '"`X`"',
    "> /tmp/X",
    "< /etc/passwd",
    "*",
    "?",
    "[a-z]",
    "~root",
  ],
  ...[
    "%0aX",
    "\\nX",
    "$IFS$9X",
    "{X,}",
    "!!",
    "#",
    "\\",
    "'",
    '"',
    "$",
    "$'\\nX'",
    "\u0000X",
    "\u001b]0;X\u0007",
  ],
];
const options = [
  "-rf",
  "--",
  "-",
  "-oProxyCommand=X",
  "--checkpoint-action=exec=X",
  "--to-command=X",
  "-e X",
];
const paths = [
  ...[
    "../",
    "..",
    "../../etc/cron.d/x",
    "/etc/passwd",
    "//",
    "/./",
    "a/../b",
    "/proc/self/environ",
    "..\\..\\",
  ],
  ...[
    "%2e%2e%2f",
    "..%c0%af",
    "C:\\x",
    "file:///etc/passwd",
    "a\u0000.txt",
    "trailing.",
    "trailing ",
    "~/.ssh/x",
  ],
];
const unicode = [
  ...[
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200f",
    "\ufeff",
    "\u2028",
    "\u2029",
    "\u0085",
    "\u00ad",
    "\ud800",
    "\udfff",
  ],
  ...[
    "раypal.com",
    "ｅxample.com",
    "ⓔxample.org",
    "İ",
    "ß",
    "e\u0301",
    "\u{1f4a9}",
    "\u{10ffff}",
    "\uff0e\uff0e\uff0f",
    "⁄",
  ],
  ...["\u00c0\u00ae", "\u00ff\u00fe", "xn--", "xn--a", "xn--zzzzzz99999", "xn--ls8h.example"],
];
const terminals = [
  "\u001b[2J",
  "\u001b]8;;http://x\u0007",
  "\u009b31m",
  "\r",
  "\b\b",
  "\u0007",
  "\u007f",
  "\t",
  "\v",
];
const formats = [
  "%s%s%n",
  "%x",
  "{0}",
  "{{7*7}}",
  "\u0024{7*7}",
  "<%= 7 %>",
  "#{7}",
  "%d".repeat(20),
  "\\x41",
  "&#x41;",
];
const queries = [
  "' OR '1'='1",
  "'; DROP TABLE x; --",
  '" OR ""="',
  "') UNION SELECT 1 --",
  "/*!50000 x*/",
  "\\'; --",
  "`x`",
];
const markup = [
  "<script>x</script>",
  "<img src=x onerror=x>",
  "]]>",
  "&lt;",
  "<!ENTITY x SYSTEM 'file:///x'>",
];
const objects = [
  "__proto__",
  "constructor",
  "toString",
  "null",
  "NaN",
  "-0",
  "1e309",
  "0x10",
  "[object Object]",
  "true",
];
const addresses = [
  ...[
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "[::1]",
    "::ffff:127.0.0.1",
    "169.254.169.254",
    "fe80::1%eth0",
  ],
  ...[
    "1.2.3.4.5",
    "256.1.1.1",
    "1.2.3",
    "00.0.0.0",
    "http://a@b@c/",
    "http://[::1",
    "http://x:99999/",
    "//x",
    "@x",
  ],
];
const subjects = ["*", ">", "a.b.>", "$JS.API.>", "_INBOX.x", "\r\nPUB x 0\r\n", ".", "..", " "];
const configs = [
  "}\nlocation / {",
  "include /etc/x;",
  "key: [a, &b",
  "[x]\ny=z",
  "\nLD_PRELOAD=/x",
  "BASH_ENV=x",
];
const repeated = ["a", "-", ".", "a.", "a-", "(", "\\", "%", "x@", "../", "[", " "];
const groups = [
  ...[shells, shells, options, paths, unicode, terminals, formats, queries, markup],
  ...[objects, addresses, subjects, configs],
];
const plain = [
  ...[
    "",
    "",
    "",
    "a",
    "web-1",
    "example.org",
    "s-abc123def456",
    "/srv/sites/a",
    "0 3 * * *",
    "203.0.113.7",
  ],
  ...["https://example.org/", "admin@example.org", "backup.create", "8.2", "Europe/Berlin"],
];

/** A generator of hostile texts, seldom longer than 200 and never longer than 9,000 UTF-16 units. */
export function hostileTexts(seed: number): () => string {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  const below = (limit: number): number => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
  const one = (from: readonly string[]): string => from[below(from.length)] ?? "";
  const piece = (): string =>
    one(groups[below(groups.length)] ?? shells).replaceAll("X", one(commands));
  return () => {
    if (below(50) === 0)
      return one(repeated)
        .repeat(50 + below(3_000))
        .slice(0, 9_000);
    if (below(10) === 0)
      return one(plain).slice(0, 1 + below(6)) + String.fromCharCode(below(0x1_0000));
    let text = one(plain);
    for (let left = 1 + below(3); left > 0; left -= 1) text += piece();
    return text + one(plain);
  };
}
