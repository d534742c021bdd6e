import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { transient } from "../failure/failure.ts";
import { scrub } from "../secrets/scrub.ts";
import {
  apiTokenVerifier,
  hashOfToken,
  isApiToken,
  makeApiToken,
  type TokenClaims,
  tokenCacheMs,
} from "./api-token.ts";
import { roles } from "./roles.ts";

const token = makeApiToken(randomBytes);
const claims: TokenClaims = {
  ...{ tokenId: "t1", tenant: "acme", role: "viewer", permissions: ["backup.create"] },
  expiresAt: 10_000_000,
};

function directory(entries: Record<string, TokenClaims>) {
  const asked: string[] = [];
  const used: string[] = [];
  let clock = 1_000_000;
  const verify = apiTokenVerifier(
    {
      find: async (hash) => {
        asked.push(hash);
        return entries[hash] ? JSON.stringify(entries[hash]) : undefined;
      },
      used: async (tokenId, at) => void used.push(`${tokenId} ${at.getTime()}`),
    },
    () => new Date(clock),
  );
  return { verify, asked, used, wait: (ms: number) => (clock += ms) };
}

const refused = { kind: "security", code: "unauthenticated" };

test("a token is recognised by its prefix and checksum, and never printed by the log", () => {
  expect(isApiToken(token)).toBe(true);
  expect(makeApiToken(randomBytes)).not.toBe(token);
  for (const wrong of [
    "",
    "chom_",
    token.slice(1),
    `${token}0`,
    token.toUpperCase(),
    `${token.slice(0, -1)}${token.endsWith("0") ? "1" : "0"}`,
    `${token}\n`,
  ]) {
    expect([wrong, isApiToken(wrong)]).toEqual([wrong, false]);
  }
  expect(scrub(`got ${token} today`)).toBe("got [secret] today");
});

test("case 44: a known token is its tenant with the permissions of role and list", async () => {
  const { verify } = directory({ [hashOfToken(token)]: claims });
  expect(await verify(token)).toEqual({
    ...{ tenant: "acme", actor: "token:t1", service: undefined, traceparent: "" },
    permissions: [...roles.viewer, "backup.create"],
  });
});

test("case 44: a mistyped token asks nobody, an unknown one is refused", async () => {
  const { verify, asked } = directory({});
  await expect(verify(`${token.slice(0, -8)}00000000`)).rejects.toMatchObject(refused);
  expect(asked).toEqual([]);
  await expect(verify(token)).rejects.toMatchObject(refused);
  expect(asked).toEqual([hashOfToken(token)]);
});

test("case 44: a revoked token is refused as soon as what was read is too old, an expired one at once", async () => {
  const entries = { [hashOfToken(token)]: claims };
  const { verify, asked, wait } = directory(entries);
  await verify(token);
  await verify(token);
  expect(asked).toHaveLength(1);
  delete entries[hashOfToken(token)];
  wait(tokenCacheMs);
  await expect(verify(token)).rejects.toMatchObject(refused);
  const late = directory({ [hashOfToken(token)]: claims });
  late.wait(claims.expiresAt - 1_000_000 - 1);
  await late.verify(token);
  late.wait(1);
  await expect(late.verify(token)).rejects.toMatchObject(refused);
});

test("nobody is let in while the directory cannot be asked", async () => {
  const find = () => Promise.reject(transient("log-unavailable", "away"));
  const verify = apiTokenVerifier({ find, used: async () => {} }, () => new Date(0));
  await expect(verify(token)).rejects.toMatchObject({ code: "log-unavailable" });
});

test("a use is told once a minute", async () => {
  const { verify, used, wait } = directory({ [hashOfToken(token)]: claims });
  await verify(token);
  wait(59_999);
  await verify(token);
  wait(1);
  await verify(token);
  expect(used).toEqual(["t1 1000000", "t1 1060000"]);
});
