import fc from "fast-check";
import { expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { fieldsOf } from "./fields.ts";
import { addressProblem, domainProblem } from "../input/host.ts";

const Kind = { UNSPECIFIED: "KIND_UNSPECIFIED", PHP: "KIND_PHP", STATIC: "KIND_STATIC" } as const;

/** The refused fields of a request. */
function refused<R extends object>(
  request: R,
  read: (fields: ReturnType<typeof fieldsOf<R>>) => unknown,
) {
  const fields = fieldsOf(request);
  read(fields);
  try {
    fields.done();
  } catch (error) {
    return (error as Failure).violations.map(({ field }) => field);
  }
  return [];
}

test("all violations come at once, by proto name", () => {
  const request = {
    siteId: "",
    pageSize: 501,
    hostKeys: ["ok", "a\nb"],
    kind: "KIND_NEW",
    note: "x".repeat(9),
  };
  const fields = refused(request, (from) => {
    from.id("siteId");
    from.pageSize();
    from.texts("hostKeys", { max: 10, items: { min: 1, max: 3 } });
    from.enum("kind", Kind);
    from.optionalText("note", { max: 8 });
    from.refuse("note", "says nothing");
  });
  expect(fields).toEqual(["site_id", "page_size", "host_keys[1]", "kind", "note", "note"]);
});

test("good fields are answered, absent ones take their default", () => {
  const fields = fieldsOf({
    id: "a-1",
    kind: "KIND_PHP",
    pageSize: 0,
    minPosition: 7n,
    text: "hé 🎉",
  });
  expect(fields.id("id")).toBe("a-1");
  expect(fields.enum("kind", Kind)).toBe("KIND_PHP");
  expect(fields.pageSize()).toBe(50);
  expect(fields.position()).toBe(7);
  expect(fields.text("text", { max: 10 })).toBe("hé 🎉");
  expect(() => fields.done()).not.toThrow();
});

test("enums refuse UNSPECIFIED, unless they are optional", () => {
  const request = { kind: "KIND_UNSPECIFIED", kinds: ["KIND_PHP", "KIND_UNSPECIFIED"] };
  expect(refused(request, (from) => from.enum("kind", Kind))).toEqual(["kind"]);
  expect(refused(request, (from) => from.optionalEnum("kind", Kind))).toEqual([]);
  expect(refused(request, (from) => from.enums("kinds", Kind))).toEqual(["kinds[1]"]);
});

test("case 60: numbers that a number cannot hold, and moments that are none, are refused", () => {
  const request = { minPosition: 2n ** 60n, count: 1.5, at: new Date(Number.NaN) };
  const fields = refused(request, (from) => {
    from.position();
    from.int("count", { min: 0, max: 9 });
    from.time("at");
  });
  expect(fields).toEqual(["min_position", "count", "at"]);
});

test.each(["\u0000", "\n", "\u001b[2J", "\u2028", "\u202e", "\ufeff", "\u0085"])(
  "case 02, 09: text with %j is refused",
  (text) => {
    expect(refused({ text }, (from) => from.text("text", { max: 100 }))).toEqual(["text"]);
  },
);

test.each([
  "example.org",
  "a.b.c.example.org",
  "xn--bcher-kva.example",
  "1and1.com",
  `${"a".repeat(63)}.org`,
])("%s is a domain", (domain) => {
  expect(domainProblem(domain)).toBeUndefined();
});

test.each([
  "",
  "localhost",
  "127.0.0.1",
  "::1",
  "Example.org",
  "example.org.",
  ".example.org",
  "a..b",
  "*.example.org",
  "-a.org",
  "a-.org",
  "ex_ample.org",
  "bücher.example",
  "xn--.org",
  "ab--c.org",
  "example.123",
  "a b.org",
  "example.org/path",
  "example.org:80",
  "$(id).org",
  "a;b.org",
  "example.org\n",
  `${"a".repeat(64)}.org`,
  `${"a.".repeat(126)}toolong`,
])("case 02, 72: %j is no domain", (domain) => {
  expect(domainProblem(domain)).toBeDefined();
});

test("case 59, 72: an accepted domain is nothing but labels, and any text is answered in time", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
      if (domainProblem(text) === undefined) expect(text).toMatch(/^[a-z0-9.-]{3,253}$/);
    }),
  );
  // Anything worse than linear would take hours for these.
  for (const text of ["a.".repeat(500_000), "-".repeat(1_000_000), "a-".repeat(500_000)]) {
    expect(domainProblem(text)).toBeDefined();
  }
}, 60_000);

test("addresses are IPv4, IPv6 without a zone, or host names", () => {
  for (const good of ["203.0.113.5", "2001:db8::1", "web-1", "web-1.example.org"]) {
    expect(addressProblem(good)).toBeUndefined();
  }
  for (const bad of ["", "fe80::1%eth0", "256.1.1.1", "1.2.3", "a b", "-x", "host;id", "[::1]"]) {
    expect(addressProblem(bad)).toBeDefined();
  }
});
