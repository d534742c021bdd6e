/** What a page is given, and what it may answer. */
import type { GetCallerResponse } from "@chom/proto/chom/credentials/v1/tokens";
import { classify, type Failure } from "@chom/shared/failure/failure";
import { grants } from "@chom/shared/rpc/roles";
import type { Services } from "../services.ts";
import type { View } from "../view/layout.ts";
import { type Html, html, type Value } from "../view/html.ts";
import { trouble } from "../view/parts.ts";

export type Page = {
  /** As the operator who is signed in. */
  readonly services: Services;
  readonly caller: GetCallerResponse;
  readonly formSecret: string;
  readonly query: URLSearchParams;
  /** From the path. */
  readonly params: Readonly<Record<string, string>>;
  /** What the live stream has told the browser: read models are waited for until they have it too. */
  readonly journalSeen: bigint;
  /** Says that what is shown is older than that: the browser asks again soon, without waiting for news. */
  readonly tellBehind: () => void;
  readonly now: Date;
  /** Aborts when the browser leaves. */
  readonly signal: AbortSignal;
};

export type Action = Page & { readonly form: URLSearchParams };

export type Route =
  | { readonly path: string; readonly show: (page: Page) => Promise<View> }
  /** Answers where to go then. */
  | { readonly path: string; readonly act: (action: Action) => Promise<string> };

/** Only hides what would be refused: each service checks it again. */
export const may = ({ caller }: Page, permission: string): boolean =>
  grants(caller.permissions, permission);

/** Opens a form that is accepted. */
export const formSecretField = ({ formSecret }: Page): Html =>
  html`<input type="hidden" name="form" value="${formSecret}">`;

/** A part of a page that must not take the others with it: its value, or why there is none. */
export async function part<T>(asked: Promise<T>, show: (value: T) => Value): Promise<Value> {
  let value: T;
  try {
    value = await asked;
  } catch (error) {
    const failure = classify(error);
    if (failure.code === "unauthenticated") throw error;
    return trouble(failure);
  }
  return show(value);
}

/** Asks a read model that is to have seen what the browser was told of; a model further behind is shown as it is, and that is told. */
export async function caughtUp<T>(
  { journalSeen, tellBehind }: Page,
  ask: (at: bigint) => Promise<T>,
  position = journalSeen,
): Promise<T> {
  try {
    return await ask(position);
  } catch (error) {
    if (position === 0n || classify(error).code !== "read-model-behind") throw error;
    tellBehind();
    return ask(0n);
  }
}

const statuses: Readonly<Partial<Record<Failure["kind"], number>>> = {
  "not-found": 404,
  invalid: 400,
  security: 403,
  rejected: 409,
  conflict: 409,
  operator: 409,
  transient: 503,
};

/** The page of a failure. */
export function failurePage(failure: Failure): View {
  const titles: Readonly<Partial<Record<Failure["kind"], string>>> = {
    "not-found": "Not found",
    invalid: "That cannot be asked for",
    security: "Not permitted",
    transient: "Not available now",
  };
  return {
    title: titles[failure.kind] ?? "That did not work",
    section: "",
    status: statuses[failure.kind] ?? 500,
    body: html`${trouble(failure)}<p><a href="/">Back to the overview</a></p>`,
  };
}
