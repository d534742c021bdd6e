/** The web server: finds the page, knows who asks, refuses what is not from here, and answers with care. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { classify, Failure, notFound, security, transient } from "@chom/shared/failure/failure";
import type { Logger } from "@chom/shared/telemetry/logger";
import type { LiveHub } from "../live/hub.ts";
import type { Services, WhoIs } from "../services.ts";
import { documentOf, type Frame, type View } from "../view/layout.ts";
import { textOf } from "../view/html.ts";
import type { Assets } from "./assets.ts";
import { cookieIn, type Session, settingCookie, type sessionCookies } from "./cookie.ts";
import {
  addressOf,
  isForUs,
  isOwnForm,
  type Reach,
  securityHeaders,
  strictTransport,
} from "./headers.ts";
import { noticeOf } from "./notices.ts";
import { failurePage, type Page, type Route } from "./page.ts";
import type { RateLimit } from "./rate-limit.ts";
import { readForm } from "./read-form.ts";
import { matchPath } from "./routes.ts";
import { signIn, signInPage } from "./sign-in.ts";
import type { Secret } from "@chom/shared/secrets/secret";

export type WebOptions = {
  readonly routes: readonly Route[];
  readonly assets: Assets;
  readonly cookies: ReturnType<typeof sessionCookies>;
  readonly as: (token: Secret) => Services;
  readonly whoIs: WhoIs;
  readonly live: LiveHub;
  readonly attempts: RateLimit;
  readonly reach: Reach;
  readonly now: () => number;
  readonly logger: Logger;
};

type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly method: string;
  readonly session: Session | undefined;
};

const longestPath = 4_096;
const topicsMax = 12;

function answerPage(web: WebOptions, { response }: Exchange, view: View, frame: Partial<Frame>) {
  const whole: Frame = { formSecret: "", livePosition: "", ...frame, assets: web.assets.prefix };
  response.writeHead(view.status ?? 200, { "content-type": "text/html; charset=utf-8" });
  response.end(textOf(documentOf(view, whole)));
}

function redirect({ response }: Exchange, to: string, cookie?: string): void {
  response.writeHead(303, {
    location: to,
    ...(cookie === undefined ? {} : { "set-cookie": cookie }),
  });
  response.end();
}

const signOutCookie = settingCookie("", 0);

async function answerSignIn(web: WebOptions, exchange: Exchange): Promise<void> {
  const { request, method } = exchange;
  if (method !== "POST") return answerPage(web, exchange, signInPage(), {});
  if (!isOwnForm(request, web.reach)) throw security("not-permitted", "this form is not from here");
  const now = web.now();
  const address = addressOf(request, web.reach);
  const waitMs = web.attempts.take(address, now);
  if (waitMs > 0) {
    web.logger.warn({ address }, "too many attempts to sign in");
    exchange.response.setHeader("retry-after", Math.ceil(waitMs / 1_000));
    return answerPage(web, exchange, signInPage("Too many attempts; wait a moment.", 429), {});
  }
  const made = await signIn((await readForm(request)).get("token") ?? "", web.whoIs, now);
  if ("problem" in made) {
    web.logger.warn({ address }, "sign-in refused");
    return answerPage(web, exchange, signInPage(made.problem, 401), {});
  }
  // Whole teams sign in from one address: only what was refused counts.
  web.attempts.giveBack(address);
  redirect(exchange, "/", settingCookie(web.cookies.seal(made), made.expiresAt - now));
}

/** Of a position like `j12.e7`. */
const journalOf = (position: string): bigint => BigInt(/^j(\d{1,15})\./.exec(position)?.[1] ?? 0);

/** The header of a page that shows less than the browser was told of. */
const behind = "chom-behind";

async function pageOf(
  web: WebOptions,
  exchange: Exchange,
  session: Session,
  { params, livePosition }: { params: Page["params"]; livePosition: string },
): Promise<Page> {
  const leaving = new AbortController();
  exchange.response.once("close", () => leaving.abort());
  const told = exchange.request.headers["chom-seen"];
  return {
    services: web.as(session.token),
    caller: await web.whoIs(session.token),
    ...{ formSecret: session.formSecret, query: exchange.url.searchParams, params },
    // A page that is loaded will follow the stream from where it is now.
    journalSeen: journalOf(typeof told === "string" ? told : livePosition),
    tellBehind: () => exchange.response.setHeader(behind, "yes"),
    ...{ now: new Date(web.now()), signal: leaving.signal },
  };
}

function answerLive(
  web: WebOptions,
  { url, request, response }: Exchange,
  { token }: Session,
): void {
  const topics = (url.searchParams.get("topics") ?? "").split(" ").slice(0, topicsMax);
  const after = String(request.headers["last-event-id"] ?? url.searchParams.get("after") ?? "");
  web.live.serve(token, { topics, after }, response);
}

async function answerRoute(web: WebOptions, exchange: Exchange, session: Session): Promise<void> {
  const { url, method, request } = exchange;
  const isPost = method === "POST";
  for (const route of web.routes) {
    const params = matchPath(route.path, url.pathname);
    if (params === undefined || "act" in route !== isPost) continue;
    const { token } = session;
    // Taken before anything is read: what happens meanwhile is told to the page again.
    const livePosition = web.live.position(token);
    const page = await pageOf(web, exchange, session, { params, livePosition });
    if ("act" in route) {
      const form = await readForm(request);
      if (form.get("form") !== session.formSecret) {
        throw security("not-permitted", "this form is not from this session: load the page again");
      }
      return redirect(exchange, await route.act({ ...page, form }));
    }
    const frame = { caller: page.caller, formSecret: session.formSecret };
    let view: View;
    try {
      view = await route.show(page);
    } catch (error) {
      const failure = classify(error);
      if (failure.code === "unauthenticated" || failure.code === "unexpected") throw error;
      view = failurePage(failure);
    }
    const notice = noticeOf(url.searchParams);
    // Who has seen nothing is told to look again at once.
    const seen = exchange.response.hasHeader(behind) ? "" : livePosition;
    return answerPage(web, exchange, view, { ...frame, livePosition: seen, notice });
  }
  throw notFound("page", url.pathname.slice(0, 100));
}

async function answer(web: WebOptions, exchange: Exchange): Promise<void> {
  const { url, method, session, request, response } = exchange;
  if (!isForUs(request, web.reach)) throw notFound("site", "of this name");
  if (method !== "GET" && method !== "HEAD" && method !== "POST") {
    throw new Failure("invalid", "invalid-request", "only GET and POST are answered");
  }
  if (url.pathname === "/healthz") return void response.end("ok\n");
  const asset = web.assets.find(url.pathname);
  if (asset) {
    const keep = "public, max-age=31536000, immutable";
    response.writeHead(200, { "content-type": asset.type, "cache-control": keep });
    return void response.end(asset.body);
  }
  if (url.pathname === "/sign-in") return answerSignIn(web, exchange);
  if (!session) {
    if (url.pathname === "/live") throw security("unauthenticated", "nobody is signed in");
    return redirect(exchange, "/sign-in");
  }
  if (method === "POST" && !isOwnForm(request, web.reach)) {
    throw security("not-permitted", "this form is not from here");
  }
  if (url.pathname === "/live") return answerLive(web, exchange, session);
  if (url.pathname === "/sign-out" && method === "POST") {
    return redirect(exchange, "/sign-in", signOutCookie);
  }
  return answerRoute(web, exchange, session);
}

async function answerFailure(web: WebOptions, exchange: Exchange, error: unknown): Promise<void> {
  const { response, url, method, session } = exchange;
  const failure = classify(error);
  if (failure.code === "unexpected")
    web.logger.error({ err: error, path: url.pathname }, "unexpected");
  if (response.headersSent) return void response.destroy();
  if (failure.code === "unauthenticated") {
    if (url.pathname !== "/live") return redirect(exchange, "/sign-in", signOutCookie);
    return void response.writeHead(401).end();
  }
  const shown =
    failure.code === "unexpected"
      ? transient("unexpected", "something unexpected happened; the log has it")
      : failure;
  web.logger.debug({ path: url.pathname, method, code: failure.code }, "refused");
  const caller = session && (await web.whoIs(session.token).catch(() => undefined));
  const frame = caller && session ? { caller, formSecret: session.formSecret } : {};
  answerPage(web, exchange, failurePage(shown), frame);
}

async function handle(web: WebOptions, request: IncomingMessage, response: ServerResponse) {
  for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
  if (web.reach.isTls || web.reach.behindProxy) {
    response.setHeader("strict-transport-security", strictTransport["strict-transport-security"]);
  }
  const target = request.url ?? "/";
  const isShort = target.length <= longestPath && target.startsWith("/");
  const url = new URL(isShort ? `http://dashboard${target}` : "http://dashboard/");
  const session = web.cookies.open(cookieIn(request.headers.cookie) ?? "", web.now());
  const method = request.method ?? "GET";
  const exchange: Exchange = { request, response, url, method, session };
  try {
    if (!isShort) throw notFound("page", "with this address");
    await answer(web, exchange);
  } catch (error) {
    await answerFailure(web, exchange, error);
  }
}

/** Makes the server; it does not listen yet. */
export function webServer(
  web: WebOptions,
  tls: { readonly cert: Buffer; readonly key: string } | undefined,
): Server {
  const onRequest = (request: IncomingMessage, response: ServerResponse) =>
    void handle(web, request, response);
  const server = tls
    ? createSecureServer({ ...tls, minVersion: "TLSv1.2" }, onRequest)
    : createServer(onRequest);
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.keepAliveTimeout = 15_000;
  server.maxConnections = 4_000;
  return server;
}
