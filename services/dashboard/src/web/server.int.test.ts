/** The web server by itself: what every answer carries, what is refused, and how streams are bounded. */
import type { AddressInfo } from "node:net";
import { GetCallerResponse } from "@chom/proto/chom/credentials/v1/tokens";
import { WatchJobsResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { notFound, security, transient } from "@chom/shared/failure/failure";
import { createLogger } from "@chom/shared/telemetry/logger";
import { expect, onTestFinished, test } from "vitest";
import { liveHub } from "../live/hub.ts";
import type { Services } from "../services.ts";
import { html } from "../view/html.ts";
import { loadAssets } from "./assets.ts";
import { cookieName, sessionCookies } from "./cookie.ts";
import { caughtUp, type Route } from "./page.ts";
import { rateLimit } from "./rate-limit.ts";
import { webServer } from "./server.ts";
import { Secret } from "@chom/shared/secrets/secret";

const token = "e30.e30.c2ln";
const cookies = sessionCookies([new Secret("k".repeat(32))]);
const assets = loadAssets();

/** Two logs that tell what `tell` is given, to everyone who follows them. */
function logs() {
  const followers = new Set<(entry: WatchJobsResponse) => void>();
  let opened = 0;
  async function* watchJobs(_: object, { signal }: { signal: AbortSignal }) {
    opened += 1;
    const queue: WatchJobsResponse[] = [];
    let wake = () => {};
    const take = (entry: WatchJobsResponse) => {
      queue.push(entry);
      wake();
    };
    followers.add(take);
    signal.addEventListener("abort", () => wake(), { once: true });
    try {
      while (!signal.aborted) {
        yield* queue.splice(0);
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (queue.length > 0) resolve();
        });
      }
    } finally {
      followers.delete(take);
    }
  }
  async function* subscribe(_: object, { signal }: { signal: AbortSignal }) {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    yield* [];
  }
  const services = { jobs: { watchJobs }, events: { subscribe } } as unknown as Services;
  const tell = (jobId: string, sequence: bigint) => {
    for (const take of followers) take(WatchJobsResponse.fromPartial({ jobId, sequence }));
  };
  return { services, tell, opened: () => opened, followers };
}

const routes: readonly Route[] = [
  { path: "/", show: async () => ({ title: "<Hello>", section: "/", body: html`<p>here</p>` }) },
  {
    path: "/gone",
    show: async () => {
      throw notFound("job", "<x>");
    },
  },
  { path: "/do", act: async () => "/" },
  {
    path: "/list",
    show: async (page) => {
      const shown = await caughtUp(page, async (at) => {
        if (at > 7n) throw transient("read-model-behind", "7");
        return at;
      });
      return { title: "List", section: "/", topics: ["jobs"], body: html`<p>at ${shown}</p>` };
    },
  },
];

async function serving(more: { viewersMax?: number; publicUrl?: string } = {}) {
  const told = logs();
  const live = liveHub({ as: () => told.services, viewersMax: more.viewersMax ?? 10 });
  const server = webServer(
    {
      ...{ routes, assets, cookies, live, as: () => told.services, now: () => Date.now() },
      whoIs: async (given) => {
        if (given.reveal() !== token) throw security("unauthenticated", "no");
        return GetCallerResponse.fromPartial({ tenant: "acme", actor: "ann", permissions: ["*"] });
      },
      attempts: rateLimit({ burst: 3, everyMs: 60_000 }),
      reach: { isTls: false, behindProxy: false, publicUrl: more.publicUrl },
      logger: createLogger({ service: "test", level: "silent" }),
    },
    undefined,
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    live.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const expiresAt = Date.now() + 60_000;
  const sealed = cookies.seal({ token: new Secret(token), formSecret: "form-secret", expiresAt });
  const cookie = `${cookieName}=${sealed}`;
  const get = (path: string, headers: Record<string, string> = { cookie }) =>
    fetch(url + path, { headers, redirect: "manual" });
  const post = (path: string, form: Record<string, string>, headers: Record<string, string> = {}) =>
    fetch(url + path, {
      ...{ method: "POST", body: new URLSearchParams(form), redirect: "manual" },
      headers: { cookie, origin: url, ...headers },
    });
  return { url, get, post, told, cookie };
}

test("every answer is kept from frames, caches, sniffing and foreign scripts", async () => {
  const { get } = await serving();
  for (const path of ["/", "/gone", "/sign-in", "/nothing", `${assets.prefix}/style.css`]) {
    const { headers } = await get(path);
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain("unsafe");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe(
      path.includes("assets") ? "public, max-age=31536000, immutable" : "no-store",
    );
  }
});

test("pages have no inline script or style, and escape their title", async () => {
  const { get } = await serving();
  const text = await (await get("/")).text();
  expect(text).toContain("<title>&lt;Hello&gt; · CHOM</title>");
  expect(text).not.toMatch(/<script>|<style|style=|\son\w+=/);
  const gone = await get("/gone");
  expect([gone.status, await gone.text()]).toEqual([404, expect.stringContaining("&lt;x&gt;")]);
});

test("modules for the browser have no types and no bare names", async () => {
  const { get } = await serving();
  for (const name of ["main", "live", "forms", "times", "idiomorph"]) {
    const answer = await get(`${assets.prefix}/${name}.js`);
    expect(answer.headers.get("content-type")).toContain("text/javascript");
    expect(await answer.text()).not.toMatch(/from "(?!\.\/)|\.ts"/);
  }
  expect((await get("/assets/old/main.js")).status).toBe(404);
  expect((await get(`${assets.prefix}/..%2fpackage.json`)).status).toBe(404);
});

test("without a session there is only the page to sign in", async () => {
  const { get, url } = await serving();
  const home = await get("/", {});
  expect([home.status, home.headers.get("location")]).toEqual([303, "/sign-in"]);
  expect((await get("/live?topics=jobs", {})).status).toBe(401);
  const posted = await fetch(`${url}/do`, { method: "POST", redirect: "manual" });
  expect(posted.headers.get("location")).toBe("/sign-in");
});

test("a session whose token is no longer taken ends", async () => {
  const { get } = await serving();
  const formSecret = "x";
  const stale = cookies.seal({
    token: new Secret("a.b.c"),
    formSecret,
    expiresAt: Date.now() + 9_000,
  });
  const answer = await get("/", { cookie: `${cookieName}=${stale}` });
  expect(answer.headers.get("location")).toBe("/sign-in");
  expect(answer.headers.get("set-cookie")).toContain("Max-Age=0");
});

test("a form needs our origin and the session's secret", async () => {
  const { post } = await serving();
  const status = async (form: Record<string, string>, headers?: Record<string, string>) =>
    (await post("/do", form, headers)).status;
  expect(await status({ form: "form-secret" })).toBe(303);
  expect(await status({ form: "guess" })).toBe(403);
  expect(await status({})).toBe(403);
  expect(await status({ form: "form-secret" }, { origin: "https://evil.example" })).toBe(403);
  expect(await status({ form: "form-secret" }, { origin: "null" })).toBe(403);
  expect(await status({ form: "form-secret" }, { "sec-fetch-site": "cross-site" })).toBe(403);
  expect(await status({ form: "form-secret" }, { "content-type": "application/json" })).toBe(400);
  expect(await status({ form: "x".repeat(600_000) })).toBe(400);
});

test("signing in is limited, and a name that is not ours is not answered", async () => {
  const { post } = await serving();
  const tries = [1, 2, 3, 4].map(async () => (await post("/sign-in", { token: "a.b.c" })).status);
  expect((await Promise.all(tries)).toSorted()).toEqual([401, 401, 401, 429]);
  const other = await serving({ publicUrl: "https://chom.example" });
  expect((await other.get("/")).status).toBe(404);
});

/** What a stream says until it has said `count` events of these names. */
async function heard(answer: Response, names: readonly string[], count: number): Promise<string[]> {
  const seen: string[] = [];
  let text = "";
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1] ?? "";
      if (names.includes(name)) seen.push(`${name} ${/^id: (.*)$/m.exec(block)?.[1]}`);
    }
    if (seen.length >= count) break;
  }
  return seen;
}

/** Opens a stream until both logs are followed, and leaves it. */
async function connected(get: (path: string) => Promise<Response>): Promise<void> {
  await heard(await get("/live?topics=none"), ["upstream"], 2);
}

test("pages of one session share one upstream, and each is told of its own topics", async () => {
  const { get, told } = await serving();
  await connected(get);
  const after = "after=j0.e0";
  const one = await get(`/live?topics=job:a&${after}`);
  const two = await get(`/live?topics=job:b&${after}`);
  expect(told.opened()).toBe(1);
  told.tell("a", 5n);
  expect(await heard(one, ["stale", "look-again"], 1)).toEqual(["stale j5.e0"]);
  told.tell("b", 6n);
  expect(await heard(two, ["stale", "look-again"], 1)).toEqual(["stale j6.e0"]);
});

test("who comes back with an older id is told to look again; who missed nothing is not", async () => {
  const { get, told, cookie } = await serving();
  await connected(get);
  const first = await get("/live?topics=jobs&after=j0.e0");
  told.tell("a", 9n);
  expect(await heard(first, ["stale", "look-again"], 1)).toEqual(["stale j9.e0"]);
  const back = (id: string) => get("/live?topics=jobs", { cookie, "last-event-id": id });
  expect(await heard(await back("j3.e0"), ["look-again"], 1)).toEqual(["look-again j9.e0"]);
  const fresh = await back("j9.e0");
  told.tell("a", 10n);
  expect(await heard(fresh, ["stale", "look-again"], 1)).toEqual(["stale j10.e0"]);
});

test("a page waits for what its stream has told, and says when a read model is further behind", async () => {
  const { get, told, cookie } = await serving();
  await connected(get);
  const stream = await get("/live?topics=jobs&after=j0.e0");
  const shown = async (headers: Record<string, string> = {}) => {
    const answer = await get("/list", { cookie, ...headers });
    const text = await answer.text();
    const after = /data-live="[^"]*after=([^"&]*)/.exec(text)?.[1] ?? "";
    return [/at \d+/.exec(text)?.[0], after, answer.headers.get("chom-behind")];
  };
  told.tell("a", 6n);
  await heard(stream, ["stale"], 1);
  expect(await shown()).toEqual(["at 6", "j6.e0", null]);
  expect(await shown({ "chom-seen": "j5.e0" })).toEqual(["at 5", "j6.e0", null]);
  expect(await shown({ "chom-seen": "j8.e0" })).toEqual(["at 0", "", "yes"]);
  told.tell("a", 9n);
  await expect.poll(() => shown()).toEqual(["at 0", "", "yes"]);
});

test("open streams are bounded, and a page that leaves makes room", async () => {
  const { get } = await serving({ viewersMax: 2 });
  const leaving = await get("/live?topics=jobs");
  await get("/live?topics=jobs");
  expect((await get("/live?topics=jobs")).status).toBe(503);
  await leaving.body?.cancel();
  await expect.poll(async () => (await get("/live?topics=jobs")).status).toBe(200);
});
