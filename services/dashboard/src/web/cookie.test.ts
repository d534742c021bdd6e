import { Secret } from "@chom/shared/secrets/secret";
import { expect, test } from "vitest";
import { cookieIn, cookieName, sessionCookies, settingCookie } from "./cookie.ts";

const key = (name: string) => new Secret(name.repeat(32));
const session = { token: new Secret("a.b.c"), formSecret: "form", expiresAt: 2_000 };

test("what was sealed is opened until it expires, and shows nothing of the token", () => {
  const cookies = sessionCookies([key("a")]);
  const sealed = cookies.seal(session);
  expect(Buffer.from(sealed, "base64url").toString("latin1")).not.toContain("a.b.c");
  expect(cookies.open(sealed, 1_999)?.token.reveal()).toBe("a.b.c");
  expect(cookies.open(sealed, 1_999)).toMatchObject({ formSecret: "form", expiresAt: 2_000 });
  expect(cookies.open(sealed, 2_000)).toBeUndefined();
  expect(cookies.seal(session)).not.toBe(sealed);
});

test("a changed, cut or foreign cookie opens nothing", () => {
  const cookies = sessionCookies([key("a")]);
  const bytes = Buffer.from(cookies.seal(session), "base64url");
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(cookies.open(changed.toString("base64url"), 0)).toBeUndefined();
  }
  for (const text of ["", "x", bytes.subarray(1).toString("base64url"), "!".repeat(400)]) {
    expect(cookies.open(text, 0)).toBeUndefined();
  }
  expect(sessionCookies([key("b")]).open(bytes.toString("base64url"), 0)).toBeUndefined();
});

test("after the key was rotated, sessions of the one before go on", () => {
  const old = sessionCookies([key("a")]).seal(session);
  const both = sessionCookies([key("b"), key("a")]);
  expect(both.open(old, 0)?.token.reveal()).toBe("a.b.c");
  expect(sessionCookies([key("a")]).open(both.seal(session), 0)).toBeUndefined();
});

test("a cookie counts when it is there once, and is set for this host alone", () => {
  expect(cookieIn(`a=1; ${cookieName}=x; b=2`)).toBe("x");
  expect(cookieIn(`${cookieName}=x; ${cookieName}=y`)).toBeUndefined();
  expect(cookieIn(undefined)).toBeUndefined();
  expect(settingCookie("v", 60_000)).toBe(
    "__Host-chom=v; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60",
  );
});
