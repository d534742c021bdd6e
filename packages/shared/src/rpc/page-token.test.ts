import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { keyring, parseRootKeys } from "../secrets/keyring.ts";
import { decodeToken, encodeToken, pageOf } from "./page-token.ts";

const sealer = keyring(parseRootKeys(randomBytes(32).toString("base64")), randomBytes);
const scope = { tenant: "acme", list: "sites", filter: { serverId: "s-1" } };
const cursor = { createdAt: new Date("2026-01-01T00:00:00.123Z"), id: "site-9" };

test("a token leads back to its row", () => {
  expect(decodeToken(sealer, scope, encodeToken(sealer, scope, cursor))).toEqual(cursor);
  expect(decodeToken(sealer, scope, "")).toBeUndefined();
});

test("case 10, 61: a token of another tenant, list, filter or key is refused", () => {
  const token = encodeToken(sealer, scope, cursor);
  const otherKey = keyring(parseRootKeys(randomBytes(32).toString("base64")), randomBytes);
  expect(() => decodeToken(otherKey, scope, token)).toThrow("page_token");
  for (const other of [
    { ...scope, tenant: "other" },
    { ...scope, list: "jobs" },
    { ...scope, filter: { serverId: "s-2" } },
    { ...scope, filter: {} },
  ]) {
    expect(() => decodeToken(sealer, other, token)).toThrow("page_token");
  }
});

test("case 10, 61: anything we did not make is refused", () => {
  const token = encodeToken(sealer, scope, cursor);
  const forged = Buffer.from(`0.' OR 1=1 --.${"0".repeat(32)}`).toString("base64url");
  for (const bad of ["x", forged, token.slice(0, -2), `${token}AAAA`, "A".repeat(600)]) {
    expect(() => decodeToken(sealer, scope, bad)).toThrow("page_token");
  }
});

test("a page has a next one only when there are more rows", () => {
  const last = (row: number) => `after-${row}`;
  expect(pageOf([1, 2, 3], 2, last)).toEqual({ rows: [1, 2], nextPageToken: "after-2" });
  expect(pageOf([1, 2], 2, last)).toEqual({ rows: [1, 2], nextPageToken: "" });
  expect(pageOf([], 2, last)).toEqual({ rows: [], nextPageToken: "" });
});
