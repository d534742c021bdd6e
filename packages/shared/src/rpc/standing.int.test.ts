/** Who may call, how often and for how long: the whole contract without a credential, spoofed headers, rights that end. */
import { readFileSync } from "node:fs";
import { Client, credentials, Metadata, type ServiceDefinition, status } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import {
  EventsServiceService,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@chom/proto/chom/events/v1/events";
import { JobsServiceService } from "@chom/proto/chom/jobs/v1/jobs";
import { SignerServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { permissions } from "@chom/proto/permissions";
import { createCa, issueCertificate } from "@chom/stack/certificates";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import type { CallAudit } from "../audit/call-audit.ts";
import { classify, type Failure, security, transient } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import { createLogger } from "../telemetry/logger.ts";
import { connectRpc } from "./client.ts";
import { startRpcServer } from "./server.ts";
import { type Caller, type Identity, type RpcService, serverStream, unary } from "./unary.ts";

let ca: Buffer;
let tls: { ca: Buffer; cert: Buffer; key: Buffer };
let keys: Awaited<ReturnType<typeof generateKeyPair>>;
let handled: Caller[] = [];

beforeAll(async () => {
  keys = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const authority = await createCa("test");
  const names = { commonName: "server", ipAddresses: ["127.0.0.1"] };
  const made = await issueCertificate(authority, names);
  ca = Buffer.from(authority.certPem);
  tls = { ca, cert: Buffer.from(made.certPem), key: Buffer.from(made.keyPem) };
});

const noting = unary(async (_: unknown, caller: Caller) => {
  handled.push(caller);
  return {};
});
/** Says one thing and then waits for ever, without looking at its signal. */
const deaf = serverStream(async function* (
  _: SubscribeRequest,
  caller: Caller,
): AsyncIterable<SubscribeResponse> {
  handled.push(caller);
  yield { event: undefined };
  await new Promise(() => {});
});

/** Every service of the contract, with handlers that note who got in. */
function everything(): RpcService[] {
  const bytes = readFileSync(new URL(import.meta.resolve("@chom/proto/descriptors")));
  return Object.entries(loadFileDescriptorSetFromBuffer(bytes))
    .filter(([name, { format }]) => format === undefined && name.startsWith("chom."))
    .map(([, found]) => {
      const definition = found as unknown as ServiceDefinition;
      const implementation = Object.fromEntries(
        Object.entries(definition).map(([name, { responseStream }]) => [
          name,
          responseStream ? deaf : noting,
        ]),
      );
      return { definition, implementation };
    });
}

async function start(over: Partial<Parameters<typeof startRpcServer>[0]> = {}) {
  handled = [];
  const server = await startRpcServer({
    listen: "127.0.0.1:0",
    tls,
    tokenKeys: { keys: [{ ...(await exportJWK(keys.publicKey)), kid: "a" }] },
    permissions,
    services: [
      { definition: EventsServiceService, implementation: { subscribe: deaf } },
      {
        definition: SignerServiceService,
        implementation: { openSession: noting, sign: noting, reportHostKey: noting },
      },
    ],
    reflection: false,
    logger: createLogger({ service: "test", level: "silent" }),
    ...over,
  });
  server.setServing(true);
  onTestFinished(() => server.close(0));
  return server;
}

const token = (claims: Record<string, unknown> = {}, lifeSeconds = 600) => {
  const now = Math.floor(Date.now() / 1_000);
  const all = { sub: "alice", tenant: "acme", permissions: ["event.read", "job.read"], ...claims };
  return new SignJWT(all)
    .setProtectedHeader({ alg: "EdDSA", kid: "a" })
    .setAudience("chom")
    .setIssuedAt(now - 60)
    .setExpirationTime(now + lifeSeconds)
    .sign(keys.privateKey);
};

/** The status of a bare call with an empty message. */
function asking(address: string) {
  const client = new Client(address, credentials.createSsl(ca));
  onTestFinished(() => client.close());
  const same = (value: Buffer) => value;
  return (path: string, given: Record<string, string> = {}) =>
    new Promise<status>((resolve) => {
      const metadata = Metadata.fromHttp2Headers(given);
      client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error) =>
        resolve(error ? error.code : status.OK),
      );
    });
}

const empty = {
  afterPosition: 0n,
  types: [],
  aggregate: "",
  aggregateId: "",
  fromNow: false,
  stopAtEnd: false,
};
function subscribe(address: string, bearer: string) {
  const { calls, close } = connectRpc(EventsServiceService, {
    ...{ address, tls: { ca } },
    token: () => new Secret(bearer),
  });
  onTestFinished(close);
  return calls.subscribe(empty)[Symbol.asyncIterator]();
}
type Stream = ReturnType<typeof subscribe>;
const endOf = (stream: Stream): Promise<Failure> =>
  stream.next().then(() => expect.fail("the stream goes on"), classify);

test("case 37: without a credential every method of the contract is refused, and only health answers", async () => {
  const { address } = await start({ services: everything() });
  const bare = asking(address);
  const paths = Object.keys(permissions);
  expect(paths.length).toBeGreaterThan(50);
  for (const path of paths) {
    expect([path, await bare(path)]).toEqual([path, status.UNAUTHENTICATED]);
  }
  const junk = { authorization: "Basic YTpi" };
  expect(await bare(paths[0] ?? "", junk)).toBe(status.UNAUTHENTICATED);
  expect(handled).toEqual([]);
  expect(await bare("/grpc.health.v1.Health/Check")).toBe(status.OK);
  for (const path of ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/x.Y/Z", "/"]) {
    expect([path, await bare(path)]).toEqual([path, status.UNIMPLEMENTED]);
  }
});

test("case 35, 45: headers that claim a tenant, an address or a certificate count for nothing", async () => {
  const { address } = await start();
  const bare = asking(address);
  const claims = {
    tenant: "victim",
    "x-tenant": "victim",
    "chom-tenant": "victim",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-client-cert": "URI=spiffe://chom/ssl",
    "x-ssl-client-verify": "SUCCESS",
    "x-client-cert-uri": "spiffe://chom/ssl",
  };
  const service = "/chom.credentials.v1.SignerService/Sign";
  expect(await bare(service, claims)).toBe(status.UNAUTHENTICATED);
  const given = { ...claims, authorization: `Bearer ${await token({ permissions: ["*"] })}` };
  expect(await bare(service, given)).toBe(status.PERMISSION_DENIED);
  expect(handled).toEqual([]);
  const all = await start({ services: everything() });
  expect(await asking(all.address)("/chom.jobs.v1.JobsService/GetJob", given)).toBe(status.OK);
  expect(handled).toMatchObject([{ tenant: "acme", actor: "alice", service: undefined }]);
});

test("case 36: a stream ends when its token expires, is revoked or loses its right, and the audit knows", async () => {
  const refusals: string[] = [];
  const audit: CallAudit = {
    begin: async () => () => {},
    refused: (path, _, who, { code }) => void refusals.push(`${who?.actor} ${path} ${code}`),
  };
  const good: Identity = {
    ...{ tenant: "acme", actor: "program", service: undefined, traceparent: "" },
    permissions: ["event.read"],
  };
  let answer: () => Promise<Identity> = async () => good;
  const apiTokens = () => answer();
  const { address } = await start({ apiTokens, audit, recheckMs: 50 });
  const program = `chom_${"a".repeat(51)}`;
  const changes: [string, () => Promise<Identity>][] = [
    ["unauthenticated", () => Promise.reject(security("unauthenticated", "revoked"))],
    ["not-permitted", async () => ({ ...good, permissions: ["job.read"] })],
    ["log-unavailable", () => Promise.reject(transient("log-unavailable", "the broker is away"))],
  ];
  for (const [code, changed] of changes) {
    answer = async () => good;
    const stream = subscribe(address, program);
    await stream.next();
    answer = changed;
    expect((await endOf(stream)).code).toBe(code);
  }
  // Valid by the tolerance of clocks, for a second or so more.
  const expiring = subscribe(address, await token({}, -4));
  await expiring.next();
  expect((await endOf(expiring)).code).toBe("unauthenticated");
  const path = "/chom.events.v1.EventsService/Subscribe";
  expect(refusals).toContain(`program ${path} not-permitted`);
  expect(refusals).toHaveLength(4);
});

test("a directory that answers again in time ends no stream", async () => {
  const good: Identity = {
    ...{ tenant: "acme", actor: "program", service: undefined, traceparent: "" },
    permissions: ["event.read"],
  };
  let asked = 0;
  const apiTokens = async () => {
    asked += 1;
    if (asked % 3 !== 1) throw transient("log-unavailable", "the broker is away");
    return good;
  };
  const { address } = await start({ apiTokens, recheckMs: 20 });
  const stream = subscribe(address, `chom_${"a".repeat(51)}`);
  await stream.next();
  let isOver = false;
  void stream.next().catch(() => {
    isOver = true;
  });
  await expect.poll(() => asked).toBeGreaterThan(12);
  expect(isOver).toBe(false);
});

test("case 57: who calls too often is told when to come back, and a client of ours does", async () => {
  const { address } = await start({
    services: everything(),
    callLimits: { perCaller: 4, streamsPerCaller: 1 },
  });
  const bare = asking(address);
  const bearer = await token();
  const given = { authorization: `Bearer ${bearer}` };
  const path = "/chom.jobs.v1.JobsService/GetJob";
  const answers = await Promise.all(Array.from({ length: 60 }, () => bare(path, given)));
  expect(answers).toContain(status.RESOURCE_EXHAUSTED);
  expect(new Set(answers)).toEqual(new Set([status.OK, status.RESOURCE_EXHAUSTED]));
  // Every call that was let in was answered, and no other.
  expect(handled).toHaveLength(answers.filter((answer) => answer === status.OK).length);
  const patient = connectRpc(JobsServiceService, {
    ...{ address, tls: { ca } },
    token: () => new Secret(bearer),
  });
  onTestFinished(patient.close);
  await Promise.all(
    Array.from({ length: 3 }, () => patient.calls.getJob({ jobId: "x", minPosition: 0n })),
  );
  // Another caller of the tenant goes on.
  const other = { authorization: `Bearer ${await token({ sub: "bob" })}` };
  expect(await bare(path, other)).toBe(status.OK);
  const stream = subscribe(address, await token({ sub: "carol" }));
  await stream.next();
  const second = await endOf(subscribe(address, await token({ sub: "carol" })));
  expect(second).toMatchObject({ code: "too-many-requests", retryAfterMs: 1_000 });
  await stream.return?.();
});
