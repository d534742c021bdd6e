import type { CaaRecord } from "node:dns";
import { expect, test } from "vitest";
import { dnsPointsAt, type NameServers } from "./dns-check.ts";

type Zone = {
  a?: string[];
  aaaa?: string[];
  caa?: Record<string, CaaRecord[]>;
  failing?: "ipv4" | "ipv6" | "caa";
};

const fake = ({ a = [], aaaa = [], caa = {}, failing }: Zone): NameServers => {
  const answer = async <T>(kind: "ipv4" | "ipv6" | "caa", value: T): Promise<T> => {
    if (kind === failing) throw Object.assign(new Error("queryA ESERVFAIL"), { code: "ESERVFAIL" });
    return value;
  };
  return {
    ipv4: () => answer("ipv4", a),
    ipv6: () => answer("ipv6", aaaa),
    caa: (name) => answer("caa", caa[name] ?? []),
  };
};
const ask = (zone: Zone) =>
  dnsPointsAt(
    { domain: "www.shop.test", addresses: ["10.0.0.7", "2001:db8::7"], caaIdentities: ["ca.test"] },
    fake(zone),
  );

test("a name whose every address is the server's is pointed", async () => {
  expect(await ask({ a: ["10.0.0.7"] })).toEqual({ ok: true });
  expect(await ask({ a: ["10.0.0.7"], aaaa: ["2001:DB8:0::7"] })).toEqual({ ok: true });
  expect(await ask({ aaaa: ["2001:db8::7"] })).toEqual({ ok: true });
});

test("case 75: a name without addresses, or with one elsewhere, is not pointed and says where it points", async () => {
  expect(await ask({})).toMatchObject({ ok: false, code: "dns-not-pointed" });
  expect(await ask({ a: ["10.0.0.7", "192.0.2.9"] })).toEqual({
    ok: false,
    code: "dns-not-pointed",
    reason: "www.shop.test points to 192.0.2.9; it should be 10.0.0.7, 2001:db8::7",
  });
});

test("one wrong AAAA record is enough, for the CA may choose it", async () => {
  expect(await ask({ a: ["10.0.0.7"], aaaa: ["2001:db8::8"] })).toMatchObject({
    code: "aaaa-wrong",
  });
});

test("case 75: the closest CAA records decide", async () => {
  const a = ["10.0.0.7"];
  const issue = (value: string): CaaRecord => ({ critical: 0, issue: value });
  expect(await ask({ a, caa: { "shop.test": [issue("other.test")] } })).toMatchObject({
    code: "caa-forbids",
    reason: 'CAA records of shop.test allow "other.test", not ca.test',
  });
  const closest = { "www.shop.test": [issue("ca.test")], "shop.test": [issue(";")] };
  expect(await ask({ a, caa: closest })).toEqual({ ok: true });
  expect(await ask({ a, caa: { test: [issue("x.test"), issue("CA.test; account=1")] } })).toEqual({
    ok: true,
  });
  expect(
    await ask({ a, caa: { test: [issue("ca.test;validationmethods=dns-01")] } }),
  ).toMatchObject({ code: "caa-forbids" });
  expect(await ask({ a, caa: { test: [{ critical: 0, iodef: "mailto:a@b" }] } })).toEqual({
    ok: true,
  });
  expect(
    await ask({ a, caa: { test: [{ critical: 128, tbs: "x" } as unknown as CaaRecord] } }),
  ).toMatchObject({ code: "caa-forbids" });
});

test("a name server that fails is not a name that points elsewhere", async () => {
  for (const failing of ["ipv4", "ipv6", "caa"] as const) {
    expect(await ask({ a: ["10.0.0.7"], failing })).toMatchObject({
      ok: false,
      code: "dns-unavailable",
      reason: expect.stringContaining("ESERVFAIL"),
    });
  }
});
