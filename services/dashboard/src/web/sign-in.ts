/** Signing in with a token that the services accept, and out again. */
import { randomBytes } from "node:crypto";
import { classify } from "@chom/shared/failure/failure";
import { isApiToken } from "@chom/shared/rpc/api-token";
import { Secret } from "@chom/shared/secrets/secret";
import type { WhoIs } from "../services.ts";
import type { View } from "../view/layout.ts";
import { html } from "../view/html.ts";
import { status } from "../view/parts.ts";
import { type Session, sessionMaxMs, tokenMax } from "./cookie.ts";

const form = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** The page to sign in, with what went wrong the last time. */
export const signInPage = (problem = "", code = 200): View => ({
  title: "Sign in",
  section: "",
  status: code,
  body: html`<form method="post" action="/sign-in" class="sign-in">
  ${problem !== "" && html`<p class="trouble" role="alert" id="problem">${status("bad", "Not signed in")} <span>${problem}</span></p>`}
  <label for="token">Token</label>
  <input id="token" name="token" type="password" required autocomplete="off" spellcheck="false" autocapitalize="none"${problem !== "" && html` aria-invalid="true" aria-describedby="problem"`} autofocus>
  <p class="hint">A signed token of your organisation, or an API token (<code>chom token create --name dashboard --role operator</code>). It is kept sealed in a cookie of this browser only, for at most 12 hours.</p>
  <button>Sign in</button></form>`,
});

/** When a signed token ends; API tokens do not say. Only read once the services have accepted the token. */
export function endOf(token: string, now: number): number {
  const latest = now + sessionMaxMs;
  if (isApiToken(token)) return latest;
  try {
    const claims = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
    const { exp } = JSON.parse(claims) as { exp?: unknown };
    return typeof exp === "number" ? Math.min(latest, exp * 1_000) : latest;
  } catch {
    return latest;
  }
}

const problems: Readonly<Record<string, string>> = {
  unauthenticated: "This token is not valid here, was revoked or has expired.",
  "not-permitted": "This token may not look at anything: it needs at least the role viewer.",
};

/** A session for a token, or why there is none. */
export async function signIn(
  text: string,
  ask: WhoIs,
  now: number,
): Promise<Session | { readonly problem: string }> {
  const given = text.trim();
  if (given.length > tokenMax) return { problem: "This token is too long for a session." };
  if (!form.test(given) && !isApiToken(given))
    return { problem: "This has not the form of a token." };
  const token = new Secret(given);
  try {
    await ask(token);
  } catch (error) {
    const { code } = classify(error);
    return { problem: problems[code] ?? "The service that knows tokens does not answer now." };
  }
  return { token, formSecret: randomBytes(24).toString("base64url"), expiresAt: endOf(given, now) };
}
