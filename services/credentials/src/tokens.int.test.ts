/** API tokens on real services: made on the console, used at another service, revoked, with the broker's permissions on. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { TokensServiceService } from "@chom/proto/chom/credentials/v1/tokens";
import { JobsServiceService } from "@chom/proto/chom/jobs/v1/jobs";
import { connectNats, getFromLeader } from "@chom/shared/event-log/nats";
import type { Failure } from "@chom/shared/failure/failure";
import { connectRpc } from "@chom/shared/rpc/client";
import { hashOfToken, isApiToken, makeApiToken } from "@chom/shared/rpc/api-token";
import { roles } from "@chom/shared/rpc/roles";
import { Secret } from "@chom/shared/secrets/secret";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { inboxPrefix } from "@chom/shared/topology/names";
import postgresClient from "postgres";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

let ground: Ground;
let services: Awaited<ReturnType<typeof startServiceProcess>>[] = [];
let urls: { credentials: string; scheduler: string };
let acme: string;
let other: string;

beforeAll(async () => {
  ground = await startGround();
  services = await Promise.all([
    startServiceProcess(ground, "credentials"),
    startServiceProcess(ground, "scheduler", { CHOM_DEFAULT_SCHEDULES: "false" }),
  ]);
  const [credentials, scheduler] = services;
  urls = { credentials: credentials?.address ?? "", scheduler: scheduler?.address ?? "" };
  acme = await contextFor(ground, "acme", urls);
  other = await contextFor(ground, "other", urls);
});
afterAll(async () => {
  await Promise.all(services.map((service) => service.stop()));
  await ground?.stop();
});

/** Clients of both services with one credential. */
function as(token: string) {
  const options = { tls: { ca: readFileSync(ground.caFile) }, token: () => new Secret(token) };
  const tokens = connectRpc(TokensServiceService, { address: urls.credentials, ...options });
  const jobs = connectRpc(JobsServiceService, { address: urls.scheduler, ...options });
  onTestFinished(() => {
    tokens.close();
    jobs.close();
  });
  return { tokens: tokens.calls, jobs: jobs.calls };
}
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "none",
    (error: unknown) => (error as Failure).code,
  );
const noJob = { jobId: "absent-000000", minPosition: 0n };
const page = { pageSize: 0, pageToken: "", minPosition: 0n, includeEnded: true };
let requests = 0;
const wish = (more: object = {}) => {
  requests += 1;
  return {
    requestId: `r${requests}`,
    name: "ci",
    role: "viewer",
    permissions: [],
    days: 0,
    ...more,
  };
};

test("a token is made on the console, works at every service as its tenant, and is listed with its last use", async () => {
  const made = await runConsole(acme, ["token", "create", "--name", "ci", "--role", "viewer"]);
  expect(made.code).toBe(0);
  const token = made.out.trim();
  expect(isApiToken(token)).toBe(true);
  expect(made.err).toContain("the only time");
  expect(await codeOf(as(token).jobs.getJob(noJob))).toBe("job-not-found");
  const listed = () => runConsole(acme, ["token", "list", "--json"]);
  await expect
    .poll(async () => (await listed()).json()[0])
    .toMatchObject({
      name: "ci",
      role: "viewer",
      createdBy: "demo",
      lastUsedAt: expect.any(String),
    });
  expect((await runConsole(acme, ["token", "list"])).out).toContain("viewer");
  expect((await runConsole(other, ["token", "list", "--json"])).json()).toEqual([]);
});

test("case 38, 44: a token may do what its role says and nothing else", async () => {
  const owner = as(await ground.issue("acme"));
  const { token, apiToken } = await owner.tokens.createToken(wish());
  const viewer = as(token);
  expect(await codeOf(viewer.jobs.cancelJob({ jobId: "absent-000000", reason: "" }))).toBe(
    "not-permitted",
  );
  expect(await codeOf(viewer.tokens.createToken(wish()))).toBe("not-permitted");
  expect(await codeOf(viewer.tokens.listTokens(page))).toBe("not-permitted");
  const tokenId = apiToken?.tokenId ?? "";
  expect(await codeOf(viewer.tokens.revokeToken({ tokenId, reason: "" }))).toBe("not-permitted");
});

test("case 38: nobody gives away more than they have", async () => {
  const admin = as(await ground.issue("acme", { permissions: ["token.write", "site.read"] }));
  for (const more of [
    { role: "viewer" },
    { role: "owner" },
    { role: "", permissions: ["site.read", "site.reveal"] },
    { role: "", permissions: ["*"] },
  ]) {
    expect([more, await codeOf(admin.tokens.createToken(wish(more)))]).toEqual([
      more,
      "not-permitted",
    ]);
  }
  const { token } = await admin.tokens.createToken(wish({ role: "", permissions: ["site.read"] }));
  expect(await codeOf(as(token).jobs.getJob(noJob))).toBe("not-permitted");
});

test("case 44: a revoked token is refused by every service, by its own tenant's word only", async () => {
  const owner = as(await ground.issue("acme"));
  const { token, apiToken } = await owner.tokens.createToken(wish());
  const tokenId = apiToken?.tokenId ?? "";
  const jobs = as(token).jobs;
  expect(await codeOf(jobs.getJob(noJob))).toBe("job-not-found");
  const foreign = await runConsole(other, ["token", "revoke", tokenId, "--json"]);
  expect(foreign.error()).toMatchObject({ code: "token-not-found", kind: "not-found" });
  expect(await codeOf(jobs.getJob(noJob))).toBe("job-not-found");
  expect((await runConsole(acme, ["token", "revoke", tokenId])).code).toBe(0);
  // Again is no error.
  expect((await runConsole(acme, ["token", "revoke", tokenId])).code).toBe(0);
  await expect.poll(() => codeOf(jobs.getJob(noJob))).toBe("unauthenticated");
  await expect
    .poll(
      async () =>
        (await owner.tokens.listTokens(page)).tokens.find((each) => each.tokenId === tokenId)
          ?.revokedBy,
    )
    .toBe("demo");
});

test("a repeated request is refused, because the token cannot be shown again", async () => {
  const owner = as(await ground.issue("acme"));
  const request = wish();
  const { token } = await owner.tokens.createToken(request);
  expect(await codeOf(owner.tokens.createToken(request))).toBe("already-exists");
  expect(await codeOf(as(token).jobs.getJob(noJob))).toBe("job-not-found");
});

test("a caller is told who it is, and a credential without the permission is not", async () => {
  const { token } = await as(await ground.issue("acme")).tokens.createToken(wish());
  const told = await as(token).tokens.getCaller({});
  expect(told).toMatchObject({ tenant: "acme", permissions: [...roles.viewer] });
  expect(told.actor).toMatch(/^token:/);
  const permissions = ["backup.create"];
  const narrow = await as(await ground.issue("acme")).tokens.createToken(
    wish({ role: "", permissions }),
  );
  expect(await codeOf(as(narrow.token).tokens.getCaller({}))).toBe("not-permitted");
});

test("bad fields are named", async () => {
  const owner = as(await ground.issue("acme"));
  const fieldsOf = (more: object) =>
    owner.tokens.createToken(wish(more)).then(
      () => [],
      (error: unknown) => (error as Failure).violations.map(({ field }) => field),
    );
  expect(await fieldsOf({ requestId: "A B" })).toEqual(["request_id"]);
  expect(await fieldsOf({ name: "" })).toEqual(["name"]);
  expect(await fieldsOf({ name: "a\nb" })).toEqual(["name"]);
  expect(await fieldsOf({ role: "root" })).toEqual(["role"]);
  expect(await fieldsOf({ role: "" })).toEqual(["role"]);
  expect(await fieldsOf({ permissions: ["site.fly"] })).toEqual(["permissions"]);
  expect(await fieldsOf({ days: 367 })).toEqual(["days"]);
  expect(await codeOf(owner.tokens.revokeToken({ tokenId: "../x", reason: "" }))).toBe(
    "invalid-request",
  );
  expect(await codeOf(owner.tokens.listTokens({ ...page, pageToken: "x" }))).toBe(
    "invalid-request",
  );
});

test("the token itself is nowhere: not in the events, the tables or the directory", async () => {
  const owner = as(await ground.issue("acme"));
  const { token, position } = await owner.tokens.createToken(wish());
  await owner.tokens.listTokens({ ...page, minPosition: position });
  const sql = postgresClient(ground.postgres.url.replace(/\/postgres$/, "/chom"), { max: 1 });
  onTestFinished(() => sql.end({ timeout: 5 }));
  const rows = JSON.stringify(await sql`select * from credentials.api_tokens`);
  expect(rows).toContain("viewer");
  expect(rows).not.toContain(hashOfToken(token));
  const operator = await connectNats({
    ...{ servers: ground.nats.url, name: "reader", inboxPrefix: inboxPrefix("operator") },
    seed: new Secret(readFileSync(ground.seedFiles.operator, "utf8")),
  });
  onTestFinished(() => operator.close());
  const stored: string[] = [];
  for (const stream of ["EVENTS", "AUDIT", "KV_api-tokens"]) {
    for (let seq = 1; ; ) {
      const found = await getFromLeader(operator, stream, { seq, next_by_subj: ">" });
      if (!found) break;
      stored.push(found.subject, found.body);
      seq = found.sequence + 1;
    }
  }
  expect(stored.join("\n")).toContain(hashOfToken(token));
  for (const text of [rows, ...stored]) expect(text).not.toContain(token);
});

test("case 44: a token of the right form that nobody made is refused, and a signed one still works", async () => {
  const guessed = makeApiToken(randomBytes);
  for (const token of [guessed, `${guessed.slice(0, -1)}x`, "chom_", `${guessed}0`]) {
    expect(await codeOf(as(token).jobs.getJob(noJob))).toBe("unauthenticated");
  }
  expect(await codeOf(as(await ground.issue("acme")).jobs.getJob(noJob))).toBe("job-not-found");
});
