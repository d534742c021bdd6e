/** Calls that carry secrets and fail, or use them up: what is told of each is kept. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { TokensServiceService } from "@chom/proto/chom/credentials/v1/tokens";
import { makeApiToken } from "@chom/shared/rpc/api-token";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import type { Kept } from "@chom/shared/testing/everything-stored";
import { type Planted, planted } from "@chom/shared/testing/leak-finder";
import { freePort } from "@chom/stack/free-port";
import { newSshKeyPair } from "@chom/stack/ssh-keys";
import { createTokenIssuer } from "@chom/stack/tokens";
import { newId, type World } from "../world.ts";
import { plantedPem, plantedToken } from "./secrets.ts";

/** All that a client is told when a call fails. */
export type Told = { readonly secrets: Planted[]; readonly answers: Kept[]; refused: number };

async function refusedBy(told: Told, what: string, call: Promise<unknown>): Promise<void> {
  const answer = await call.then(
    () => undefined,
    (error: unknown) => {
      const all = inspect(error, { depth: 10, showHidden: true, getters: true });
      return `${all}\n${JSON.stringify(error)}\n${String((error as Error).stack)}`;
    },
  );
  if (answer === undefined) throw new Error(`${what} was let in`);
  told.refused += 1;
  told.answers.push({ place: `error of ${what}`, bytes: Buffer.from(answer) });
}

const times = <T>(count: number, make: (at: number) => T): T[] =>
  Array.from({ length: count }, (_, at) => make(at));

/** Tokens that nobody made, of both kinds, at every service. */
export async function forgedTokens(world: World, told: Told): Promise<void> {
  const { clients } = world;
  const page = { pageSize: 1, pageToken: "", minPosition: 0n };
  const doors = [
    (token: Secret) => clients.credentials.listServers(page, { token }),
    (token: Secret) => clients.provisioning.listSites({ ...page, serverId: "" }, { token }),
    (token: Secret) => clients.ssl.listCertificates(page, { token }),
    (token: Secret) => clients.backup.listBackups({ ...page, siteId: "none" }, { token }),
    (token: Secret) => clients.jobs.getJob({ jobId: "none", minPosition: 0n }, { token }),
  ];
  const folder = mkdtempSync(join(tmpdir(), "chom-forger-"));
  // The name of the true key, and another key.
  const forger = await createTokenIssuer(folder);
  rmSync(folder, { recursive: true });
  const tokens = [
    ...times(80, () => makeApiToken(randomBytes)),
    ...(await Promise.all(times(50, (at) => forger.issue("acme", { actor: `forger-${at}` })))),
  ];
  for (const [at, token] of tokens.entries()) {
    told.secrets.push(plantedToken(`forged token ${at + 1}`, token));
    const call = doors[at % doors.length];
    await refusedBy(told, `a forged token`, call?.(new Secret(token)) ?? Promise.resolve());
  }
}

/** Tokens of the tenant's own: used, and used once more when they are revoked. */
export async function revokedTokens(world: World, told: Told): Promise<void> {
  const { stack, clients } = world;
  const token = new Secret(await stack.token("acme"));
  told.secrets.push(plantedToken("a caller's token", token.reveal()));
  const tls = { ca: Buffer.from(stack.caPem) };
  const { address } = stack.services.credentials;
  const tokens = connectRpc(TokensServiceService, { address, tls, token: () => token });
  try {
    for (const at of [1, 2, 3, 4]) {
      const made = await tokens.calls.createToken({
        ...{ requestId: newId("token"), name: `canary-${at}`, role: "viewer" },
        ...{ permissions: [], days: 1 },
      });
      told.secrets.push(plantedToken(`API token ${at}`, made.token));
      const own = { token: new Secret(made.token) };
      const caller = await tokens.calls.getCaller({}, own);
      told.answers.push({ place: "answer", bytes: Buffer.from(JSON.stringify(caller)) });
      if (at % 2 === 0) continue;
      const { tokenId = "" } = made.apiToken ?? {};
      await tokens.calls.revokeToken({ tokenId, reason: "planted" });
      const list = () => clients.jobs.getJob({ jobId: "none", minPosition: 0n }, own);
      await refusedBy(told, "a token without the right or the thing", list());
    }
  } finally {
    tokens.close();
  }
}

/** A server that nobody reaches: everything up to its door happens. */
async function absentServer({ clients }: World, hostKeys: readonly string[]): Promise<string> {
  const { serverId } = await clients.credentials.registerServer({
    ...{ requestId: newId("absent"), name: "absent", address: "127.0.0.1" },
    ...{ port: await freePort(), user: "root", hostKeys: [...hostKeys] },
  });
  return serverId;
}

/** Passwords and keys that are to open a server and do not. */
export async function uselessLogins(
  world: World,
  { serverId, hostKeys }: { serverId: string; hostKeys: readonly string[] },
  told: Told,
): Promise<void> {
  const absent = await absentServer(world, hostKeys);
  const none = { oneTimePassword: "", oneTimePrivateKey: "" };
  const wishes = [
    ...times(20, (at) => {
      const password = `one-time ${randomBytes(15).toString("base64")}'"$`;
      told.secrets.push(planted(`one-time password ${at + 1}`, password));
      return { ...none, serverId: at < 2 ? serverId : absent, oneTimePassword: password };
    }),
    ...times(12, (at) => {
      const key = newSshKeyPair().private;
      told.secrets.push(...plantedPem(`one-time key ${at + 1}`, key));
      return { ...none, serverId: at < 2 ? serverId : absent, oneTimePrivateKey: key };
    }),
  ];
  for (const wish of wishes) {
    const call = world.clients.credentials.installKey(wish, { deadlineMs: 60_000 });
    await refusedBy(told, "a log-in", call);
  }
}

/** Secrets in fields that take none: somebody pasted the wrong thing. */
export async function misplacedSecrets(
  { clients }: World,
  serverId: string,
  told: Told,
): Promise<void> {
  const forms = [
    (core: string) => `postgres://admin:${core}@db.internal/shop`,
    (core: string) => `password ${core}!`,
    (core: string) => `AGE-KEY-${core}/`,
  ];
  for (const at of times(24, (each) => each)) {
    const core = randomBytes(24).toString("base64url");
    told.secrets.push(planted(`misplaced secret ${at + 1}`, core));
    const text = forms[at % forms.length]?.(core) ?? core;
    const wish = {
      ...{ requestId: newId("misplaced"), domain: "misplaced.chom.test", serverId },
      ...{ kind: SiteKind.STATIC, phpVersion: "", database: false, sslEnabled: false },
      ...{ reason: "", adminEmail: "" },
    };
    const inputJson = JSON.stringify({ siteId: "none", kind: text, secret: text });
    const calls = [
      () => clients.provisioning.provisionSite({ ...wish, domain: text }),
      () => clients.provisioning.provisionSite({ ...wish, kind: SiteKind.PHP, phpVersion: text }),
      () =>
        clients.provisioning.provisionSite({
          ...{ ...wish, kind: SiteKind.WORDPRESS, adminEmail: text },
        }),
      () =>
        clients.dispatch.dispatchJob({
          ...{ requestId: newId("misplaced"), jobName: "backup.create", inputJson, reason: "" },
          options: undefined,
        }),
    ];
    await refusedBy(told, "a field", calls[at % calls.length]?.() ?? Promise.resolve());
  }
}
