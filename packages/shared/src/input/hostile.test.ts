import { expect, test } from "vitest";
import { hostileTexts } from "../testing/hostile-text.ts";
import { cronProblem, zoneNameProblem } from "./cron.ts";
import { emailProblem } from "./email.ts";
import type { Grammar } from "./grammar.ts";
import { addressProblem, domainProblem } from "./host.ts";
import * as names from "./names.ts";
import { absolutePathProblem, relativePathProblem } from "./paths.ts";
import { textProblem } from "./text.ts";
import { httpUrlProblem } from "./url.ts";

/** What an accepted text consists of, said a second time and more plainly than the grammar does. */
const alphabets: Readonly<Record<string, readonly [grammar: Grammar, accepted: RegExp]>> = {
  domain: [domainProblem, /^[a-z0-9][a-z0-9.-]{1,251}[a-z0-9]$/],
  address: [addressProblem, /^[a-zA-Z0-9:][a-zA-Z0-9:.-]{0,252}$/],
  id: [names.idProblem, /^[a-z0-9][a-z0-9-]{0,63}$/],
  "server name": [names.serverNameProblem, /^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/],
  "unix user": [names.unixUserProblem, /^[a-z_][a-z0-9_-]{0,31}$/],
  "site user": [names.siteUserProblem, /^s-[a-z0-9]{12}$/],
  "job name": [names.jobNameProblem, /^[a-z0-9-]{1,32}\.[a-z0-9-]{1,32}$/],
  "failure code": [names.failureCodeProblem, /^[a-z0-9-]{1,64}$/],
  "schedule name": [names.scheduleNameProblem, /^[a-z][a-z0-9-]{0,62}$/],
  "flow name": [names.flowNameProblem, /^[A-Za-z0-9_ .:-]{1,100}$/],
  "worker name": [names.workerNameProblem, /^[A-Za-z0-9_.@:-]{1,100}$/],
  "database name": [names.databaseNameProblem, /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/],
  "PHP version": [names.phpVersionProblem, /^[5-9]\.\d\d?$/],
  email: [emailProblem, /^[A-Za-z0-9._%+][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]{3,253}$/],
  "relative path": [
    relativePathProblem,
    /^(?![-/])(?!.*(?:^|\/)\.{1,2}(?:\/|$))[^\p{Cc}\p{Cs}]*[^/ .]$/u,
  ],
  "absolute path": [
    absolutePathProblem,
    /^\/(?!.*\/\/)(?!.*\/\.{1,2}(?:\/|$))[^\p{Cc}\p{Cs}]*[^/ .]$/u,
  ],
  cron: [cronProblem, /^(?:@[a-z]{5,7}|[0-9A-Za-z*/,#?+-]+(?: [0-9A-Za-z*/,#?+-]+){4})$/],
  "time zone": [zoneNameProblem, /^[A-Za-z0-9_+/-]{1,64}$/],
  url: [httpUrlProblem, /^https?:\/\/[a-z0-9.:[\]-]+(?:[/?#][\x21-\x7e]*)?$/],
  text: [
    (text) => textProblem(text, { min: 1, max: 200 }),
    /^[^\p{Cc}\p{Cs}\u2028\u2029\u202e\ufeff]+$/u,
  ],
};
const count = process.env["CHOM_HOSTILE"] === "long" ? 1_000_000 : 100_000;

test("case 01, 02, 03, 04, 05, 07, 08, 09, 10, 12, 46, 58: no grammar takes a hostile text for a value", () => {
  const next = hostileTexts(1);
  const taken: Record<string, number> = {};
  const wrong: unknown[] = [];
  for (let made = 0; made < count; made += 1) {
    const text = next();
    for (const [name, [grammar, accepted]] of Object.entries(alphabets)) {
      if (grammar(text) !== undefined) continue;
      taken[name] = (taken[name] ?? 0) + 1;
      if (!accepted.test(text) && wrong.length < 10) wrong.push([name, text]);
    }
  }
  expect(wrong).toEqual([]);
  // Only text for people takes much of it, and something is taken at all: the grammars are not asleep.
  expect(taken["text"] ?? 0).toBeGreaterThan(count / 100);
  expect(taken["domain"] ?? 0).toBeLessThan(count / 100);
}, 120_000);

test("case 59: a text of a million signs is answered as fast as it is read, by every grammar", () => {
  const endless = ["a", "a.", "a-", "-", "a@", "a/", "0 ", "(", "xn--", "http://", "1.", "::", "%"];
  for (const piece of endless) {
    const text = piece.repeat(1_000_000 / piece.length);
    for (const [name, [grammar]] of Object.entries(alphabets)) {
      expect([name, grammar(text) === undefined]).toEqual([name, false]);
      expect([name, grammar(`${text}!`) === undefined]).toEqual([name, false]);
    }
  }
}, 60_000);

test("case 60: names of JavaScript's own objects are texts like others and change nothing", () => {
  for (const text of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    for (const [grammar] of Object.values(alphabets)) grammar(text);
  }
  expect(names.idProblem("__proto__")).toBeDefined();
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test.each([
  "localhost.localdomain.local",
  "db.internal",
  "1.0.0.127.in-addr.arpa",
  "x.onion",
  "web.localhost",
  "co.uk",
  "com.au",
  "*.example.org",
  "192.0.2.1",
  "раypal.com",
  "xn--a.example",
  "example.org.",
])("case 72: %j is nobody's domain", (domain) => {
  expect(domainProblem(domain)).toBeDefined();
});

test.each([
  ["admin@example.org", emailProblem],
  ["a.b+c@Sub.Example.co.uk", emailProblem],
  ["/srv/sites/s-abc123def456", absolutePathProblem],
  ["a/b c/d.txt", relativePathProblem],
  ["*/5 0-6 1,15 * MON#2", cronProblem],
  ["America/Argentina/Buenos_Aires", zoneNameProblem],
  ["https://hooks.example.org:8443/a?b=c#d", httpUrlProblem],
  ["http://[2001:db8::1]:80/", httpUrlProblem],
  ["shop.co.uk", domainProblem],
  ["xn--bcher-kva.example", domainProblem],
] as const)("%j is taken", (text, grammar) => {
  expect(grammar(text)).toBeUndefined();
});

test.each([
  "ftp://example.org/",
  "http://u:p@example.org/",
  "http://0x7f.1/",
  "http://127.1/",
  "http://2130706433/",
  "http://Example.org/",
  "http://exa mple.org/",
  "http://example.org\n/",
  "http:///x",
  "http://a\\@b/",
  "//x/y",
  "javascript:alert(1)",
  "http://example.org:99999/",
  `https://example.org/${"a".repeat(2_048)}`,
])("case 25, 27: %j is no URL to call", (text) => {
  expect(httpUrlProblem(text)).toBeDefined();
});
