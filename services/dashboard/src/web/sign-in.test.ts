import { randomBytes } from "node:crypto";
import { security, transient } from "@chom/shared/failure/failure";
import { makeApiToken } from "@chom/shared/rpc/api-token";
import { expect, test } from "vitest";
import { endOf, signIn } from "./sign-in.ts";

const hourMs = 3_600_000;
const fine = async () => ({ tenant: "acme", actor: "ann", permissions: ["*"] });
const signed = (claims: object) =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

test("a session ends with its token, and after 12 hours at the latest", () => {
  expect(endOf(signed({ exp: 3_600 }), 0)).toBe(hourMs);
  expect(endOf(signed({ exp: 900_000 }), 0)).toBe(12 * hourMs);
  expect(endOf(signed({}), 0)).toBe(12 * hourMs);
  expect(endOf("a.!.c", 0)).toBe(12 * hourMs);
  expect(endOf(makeApiToken(randomBytes), 0)).toBe(12 * hourMs);
});

test("what is no token is asked of nobody", async () => {
  let asked = 0;
  const ask = async () => {
    asked += 1;
    return fine();
  };
  for (const text of [
    "",
    "password",
    "a.b",
    "a.b.c\nd",
    "chom_short",
    `${"x".repeat(2_700)}.b.c`,
  ]) {
    expect(await signIn(text, ask, 0)).toHaveProperty("problem");
  }
  expect(asked).toBe(0);
  expect(await signIn(` ${signed({})}\n`, ask, 0)).toHaveProperty("token");
  expect(await signIn(makeApiToken(randomBytes), ask, 0)).toHaveProperty("formSecret");
  expect(asked).toBe(2);
});

test("a refusal says why, without a word of the token", async () => {
  const refusing = (code: string) => async () => {
    throw code === "down" ? transient("service-unavailable", "no") : security(code, "no");
  };
  const problem = async (code: string) => await signIn(signed({}), refusing(code), 0);
  expect(await problem("unauthenticated")).toMatchObject({
    problem: expect.stringMatching(/not valid here/),
  });
  expect(await problem("not-permitted")).toMatchObject({
    problem: expect.stringMatching(/role viewer/),
  });
  expect(await problem("down")).toMatchObject({
    problem: expect.stringMatching(/does not answer/),
  });
});
