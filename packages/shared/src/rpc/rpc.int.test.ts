import { randomBytes } from "node:crypto";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import {
  EventsServiceService,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@chom/proto/chom/events/v1/events";
import { SignerServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import {
  type GetJobRequest,
  type GetJobResponse,
  Job,
  JobsServiceService,
} from "@chom/proto/chom/jobs/v1/jobs";
import { permissions } from "@chom/proto/permissions";
import { createCa, issueCertificate } from "@chom/stack/certificates";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Failure, invalid, notFound, transient } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import { createLogger } from "../telemetry/logger.ts";
import { type ConnectOptions, connectRpc } from "./client.ts";
import { type RpcServer, startRpcServer } from "./server.ts";
import { type Caller, type RpcService, serverStream, unary } from "./unary.ts";

type Keys = Awaited<ReturnType<typeof generateKeyPair>>;
type Identity = { ca: Buffer; cert: Buffer; key: Buffer };

let server: RpcServer;
let keys: Keys;
let foreignKeys: Keys;
let ecKeys: Keys;
let tls: Identity;
let clients: Record<"ssl" | "foreign" | "nameless" | "two", Identity>;
const logged: string[] = [];
let lastCaller: Caller | undefined;
let sent = 0;

/** What getJob does, by the id asked for. */
const behaviours: Record<string, (request: GetJobRequest, caller: Caller) => Promise<unknown>> = {
  missing: async ({ jobId }) => {
    throw notFound("job", jobId);
  },
  many: async () => {
    throw invalid([
      { field: "site_id", description: "is required" },
      { field: "kind", description: "is unknown" },
    ]);
  },
  busy: async () => {
    throw transient("repo-throttled", "slow down", { retryAfterMs: 2_500 });
  },
  bug: async () => {
    throw new TypeError("cannot read password=hunter22 of undefined");
  },
  deaf: () => new Promise(() => {}),
  listening: (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        aborted.push((signal.reason as Failure).code);
        reject(signal.reason);
      });
    }),
};
const aborted: string[] = [];

const unused = unary(async () => {
  throw new Error("not called");
});

const jobs: RpcService = {
  definition: JobsServiceService,
  implementation: {
    getJob: unary(async (request: GetJobRequest, caller): Promise<GetJobResponse> => {
      lastCaller = caller;
      await behaviours[request.jobId]?.(request, caller);
      return { job: Job.fromPartial({ jobId: request.jobId, tenant: caller.tenant }) };
    }),
    listJobs: unused,
    watchJob: unused,
    cancelJob: unused,
  },
};
const events: RpcService = {
  definition: EventsServiceService,
  implementation: {
    subscribe: serverStream(async function* (
      { afterPosition }: SubscribeRequest,
      caller: Caller,
    ): AsyncIterable<SubscribeResponse> {
      const count = Number(afterPosition);
      for (sent = 0; count === 0 || sent < count; sent += 1) {
        if (caller.signal.aborted) return;
        yield { event: { ...emptyEvent, position: BigInt(sent), dataJson: "x".repeat(10_000) } };
      }
      if (count === 3) throw notFound("event", "three");
    }),
  },
};
const emptyEvent = {
  id: "",
  type: "",
  source: "",
  time: undefined,
  subject: "",
  tenant: "",
  actor: "",
  causationId: "",
  correlationId: "",
  position: 0n,
  dataJson: "",
};
const signer: RpcService = {
  definition: SignerServiceService,
  implementation: {
    openSession: unary(async (_: unknown, caller: Caller) => ({
      address: caller.service ?? "",
      port: 0,
      user: caller.tenant,
      hostKeys: [],
      publicKeys: [],
    })),
    sign: unused,
    reportHostKey: unused,
  },
};

const identity = (ca: string, made: { certPem: string; keyPem: string }): Identity => ({
  ca: Buffer.from(ca),
  cert: Buffer.from(made.certPem),
  key: Buffer.from(made.keyPem),
});

const logger = createLogger(
  { service: "test", level: "debug" },
  { write: (l) => void logged.push(l) },
);

async function start(over: Partial<Parameters<typeof startRpcServer>[0]> = {}) {
  const jwk = async (pair: Keys, kid: string) => ({ ...(await exportJWK(pair.publicKey)), kid });
  return startRpcServer({
    listen: "127.0.0.1:0",
    tls,
    tokenKeys: { keys: [await jwk(keys, "a"), await jwk(ecKeys, "b")] },
    permissions,
    services: [jobs, events, signer],
    reflection: true,
    logger,
    ...over,
  });
}

beforeAll(async () => {
  keys = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  foreignKeys = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  ecKeys = await generateKeyPair("ES256");
  const [ca, other] = [await createCa("test"), await createCa("other")];
  const of = (uris: string[]) => issueCertificate(ca, { commonName: "client", uris });
  const names = { commonName: "server", ipAddresses: ["127.0.0.1"], uris: ["spiffe://chom/toy"] };
  tls = identity(ca.certPem, await issueCertificate(ca, names));
  const uris = ["spiffe://chom/ssl"];
  const foreign = await issueCertificate(other, { commonName: "client", uris });
  clients = {
    ssl: identity(ca.certPem, await of(uris)),
    foreign: identity(ca.certPem, foreign),
    nameless: identity(ca.certPem, await of(["spiffe://elsewhere/ssl"])),
    two: identity(ca.certPem, await of([...uris, "spiffe://chom/backup"])),
  };
  server = await start();
  server.setServing(true);
});
afterAll(() => server.close(1_000));

type Claims = Record<string, unknown>;
const nowSeconds = () => Math.floor(Date.now() / 1_000);
function token(claims: Claims = {}, key: Keys = keys, header: Record<string, unknown> = {}) {
  const payload = {
    sub: "alice",
    tenant: "acme",
    permissions: ["job.read", "event.read"],
    aud: "chom",
    iat: nowSeconds(),
    exp: nowSeconds() + 600,
    ...claims,
  };
  return new SignJWT(payload)
    .setProtectedHeader({ alg: "EdDSA", kid: "a", ...header })
    .sign(key.privateKey);
}

/** Calls with a token, a client certificate, both or neither; closes the channel after the test's use. */
async function using<T>(
  by: { token?: string; client?: Identity; address?: string },
  use: (calls: {
    jobs: ReturnType<typeof connectRpc<typeof JobsServiceService>>["calls"];
    events: ReturnType<typeof connectRpc<typeof EventsServiceService>>["calls"];
    signer: ReturnType<typeof connectRpc<typeof SignerServiceService>>["calls"];
  }) => Promise<T>,
): Promise<T> {
  const bearer = by.token;
  const options: ConnectOptions = {
    address: by.address ?? server.address,
    tls: by.client ?? { ca: tls.ca },
    ...(bearer === undefined ? {} : { token: () => new Secret(bearer) }),
  };
  const open = [
    connectRpc(JobsServiceService, options),
    connectRpc(EventsServiceService, options),
    connectRpc(SignerServiceService, options),
  ] as const;
  try {
    return await use({ jobs: open[0].calls, events: open[1].calls, signer: open[2].calls });
  } finally {
    for (const { close } of open) close();
  }
}

const get = (jobId: string, minPosition = 0n) => ({ jobId, minPosition });
const failureOf = (call: Promise<unknown>): Promise<Failure> =>
  call.then(
    () => expect.fail("the call succeeded"),
    (error: unknown) => error as Failure,
  );
const refusal = async (by: { token?: string; client?: Identity }) =>
  (await failureOf(using(by, ({ jobs }) => jobs.getJob(get("x"))))).code;

test("case 35: a token's tenant, subject and trace reach the handler", async () => {
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const answer = await using({ token: await token() }, ({ jobs }) =>
    jobs.getJob(get("fine"), { traceparent }),
  );
  expect(answer.job).toMatchObject({ jobId: "fine", tenant: "acme" });
  expect(lastCaller).toMatchObject({ actor: "alice", service: undefined });
  expect(lastCaller?.traceparent.slice(0, 36)).toBe(traceparent.slice(0, 36));
  expect(lastCaller?.traceparent).not.toBe(traceparent);
});

test("an ES256 token is as good, and * grants every permission", async () => {
  const made = await token({ permissions: ["*"] }, ecKeys, { alg: "ES256", kid: "b" });
  await using({ token: made }, ({ jobs }) => jobs.getJob(get("fine")));
});

test("case 37, 43: bad credentials are told apart from missing permissions, and neither gets in", async () => {
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const good = await token();
  const [header = "", body = "", signature = ""] = good.split(".");
  const shared = await new SignJWT({ sub: "a", tenant: "acme", aud: "chom", exp: nowSeconds() + 9 })
    .setProtectedHeader({ alg: "HS256", kid: "a" })
    .sign(randomBytes(32));
  const other = Buffer.from(JSON.stringify({ sub: "alice", tenant: "victim" })).toString(
    "base64url",
  );
  const matrix: Record<string, string | undefined> = {
    "no token": undefined,
    nonsense: "a.b.c",
    "alg none": `${none}.${body}.`,
    "a shared secret": shared,
    "another payload": `${header}.${other}.${signature}`,
    "another key": await token({}, foreignKeys),
    "unknown key id": await token({}, keys, { kid: "../../etc/passwd" }),
    expired: await token({ exp: nowSeconds() - 60 }),
    "not yet valid": await token({ nbf: nowSeconds() + 600 }),
    "another audience": await token({ aud: "other" }),
    "no tenant": await token({ tenant: undefined }),
    "a wildcard tenant": await token({ tenant: "*" }),
    "a long tenant": await token({ tenant: "t".repeat(33) }),
    "no subject": await token({ sub: undefined }),
    "a subject with a line break": await token({ sub: "a\nb" }),
    "no expiry": await token({ exp: undefined }),
    "too long a life": await token({ exp: nowSeconds() + 90_000 }),
  };
  for (const [name, bad] of Object.entries(matrix)) {
    const by = bad === undefined ? {} : { token: bad };
    expect([name, await refusal(by)]).toEqual([name, "unauthenticated"]);
  }
  for (const granted of [[], ["job.cancel"], ["job"], ["job.*"], ["service"], "job.read"]) {
    const poor = await token({ permissions: granted });
    expect([granted, await refusal({ token: poor })]).toEqual([granted, "not-permitted"]);
  }
});

test("case 45: only a service's own certificate opens service methods", async () => {
  const open = { tenant: "acme", jobId: "j", fence: "1.1", serverId: "s" };
  const answer = await using({ client: clients.ssl }, ({ signer }) => signer.openSession(open));
  expect(answer).toMatchObject({ address: "ssl", user: "" });
  const refused = (by: { token?: string; client?: Identity }) =>
    failureOf(using(by, ({ signer }) => signer.openSession(open)));
  expect((await refused({ token: await token({ permissions: ["*", "service"] }) })).code).toBe(
    "not-permitted",
  );
  for (const client of [clients.foreign, clients.nameless, clients.two]) {
    expect((await refused({ client })).code).toBe("unauthenticated");
  }
  // A service is no tenant: it cannot read what belongs to one.
  expect(await refusal({ client: clients.ssl })).toBe("not-permitted");
});

test("failures come back as they were thrown", async () => {
  const by = { token: await token() };
  const missing = await failureOf(using(by, ({ jobs }) => jobs.getJob(get("missing"))));
  expect(missing).toMatchObject({
    kind: "not-found",
    code: "job-not-found",
    message: 'no job "missing"',
  });
  expect((missing.cause as ServiceError).code).toBe(status.NOT_FOUND);
  const many = await failureOf(using(by, ({ jobs }) => jobs.getJob(get("many"))));
  expect(many.violations.map(({ field }) => field)).toEqual(["site_id", "kind"]);
  const busy = await failureOf(using(by, ({ jobs }) => jobs.getJob(get("busy"))));
  expect(busy).toMatchObject({ kind: "transient", code: "repo-throttled", retryAfterMs: 2_500 });
});

test("a bug is logged with its stack and answered without internals", async () => {
  logged.length = 0;
  const bug = await failureOf(
    using({ token: await token() }, ({ jobs }) => jobs.getJob(get("bug"))),
  );
  expect(bug).toMatchObject({ code: "unexpected" });
  expect(bug.message).not.toMatch(/hunter22|undefined|TypeError/);
  const incident = /as ([0-9a-f-]{36})$/.exec(bug.message)?.[1] ?? "none";
  const entry = logged.find((line) => line.includes(incident));
  expect(entry).toContain("rpc.int.test.ts");
  expect(entry).not.toContain("hunter22");
});

test("the deadline holds even when the handler does not listen", async () => {
  const by = { token: await token() };
  const began = Date.now();
  const late = await failureOf(
    using(by, ({ jobs }) => jobs.getJob(get("deaf"), { deadlineMs: 300 })),
  );
  expect(late.code).toBe("deadline-exceeded");
  expect(Date.now() - began).toBeLessThan(5_000);
  await failureOf(using(by, ({ jobs }) => jobs.getJob(get("listening"), { deadlineMs: 300 })));
  await expect.poll(() => aborted.length).toBe(1);
});

test("a caller who leaves ends the work", async () => {
  aborted.length = 0;
  const leave = new AbortController();
  const call = using({ token: await token() }, ({ jobs }) =>
    jobs.getJob(get("listening"), { signal: leave.signal }),
  );
  setTimeout(() => leave.abort(), 200);
  expect((await failureOf(call)).code).toBe("call-cancelled");
  await expect.poll(() => aborted).toEqual(["call-cancelled"]);
});

test("case 55: a message beyond 1 MiB is refused", async () => {
  const big = await failureOf(
    using({ token: await token() }, ({ jobs }) => jobs.getJob(get("x".repeat(1_100_000)))),
  );
  expect(big.code).toBe("too-many-requests");
});

test("a stream ends, fails and is held back by a slow reader", async () => {
  const by = { token: await token() };
  const request = {
    afterPosition: 5n,
    types: [],
    aggregate: "",
    aggregateId: "",
    fromNow: false,
    stopAtEnd: true,
  };
  await using(by, async ({ events }) => {
    const positions: bigint[] = [];
    for await (const { event } of events.subscribe(request)) positions.push(event?.position ?? -1n);
    expect(positions).toEqual([0n, 1n, 2n, 3n, 4n]);
    const failing = async () => {
      for await (const _ of events.subscribe({ ...request, afterPosition: 3n }));
    };
    expect((await failureOf(failing())).code).toBe("event-not-found");
    // Endless: 10 kB each; whoever reads nothing gets no more than the windows hold.
    for await (const _ of events.subscribe({ ...request, afterPosition: 0n })) {
      let before = -1;
      while (sent !== before) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      expect(sent).toBeLessThan(1_000);
      break;
    }
  });
});

test("case 37: streams need a credential too", async () => {
  const request = {
    afterPosition: 5n,
    types: [],
    aggregate: "",
    aggregateId: "",
    fromNow: false,
    stopAtEnd: true,
  };
  const read = async () =>
    using({}, async ({ events }) => {
      for await (const _ of events.subscribe(request));
    });
  expect((await failureOf(read())).code).toBe("unauthenticated");
});

/** A bare call without generated code. */
async function raw(address: string, path: string, body: Buffer): Promise<Buffer | number> {
  const client = new Client(address, credentials.createSsl(tls.ca));
  const bytes = (value: Buffer) => value;
  try {
    return await new Promise<Buffer | number>((resolve) => {
      if (path.includes("reflection")) {
        const call = client.makeBidiStreamRequest(path, bytes, bytes, {});
        call.on("data", resolve).on("error", ({ code }: ServiceError) => resolve(code));
        call.write(body);
      } else {
        client.makeUnaryRequest(path, bytes, bytes, body, (error, value) =>
          resolve(error ? error.code : (value ?? Buffer.alloc(0))),
        );
      }
    });
  } finally {
    client.close();
  }
}

const healthPath = "/grpc.health.v1.Health/Check";
const reflectionPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/** ServerReflectionRequest{list_services: "*"}. */
const listServices = Buffer.from([0x3a, 0x01, 0x2a]);

test("case 37: health needs no credential and follows the service", async () => {
  expect(await raw(server.address, healthPath, Buffer.alloc(0))).toEqual(Buffer.from([0x08, 0x01]));
  server.setServing(false);
  expect(await raw(server.address, healthPath, Buffer.alloc(0))).toEqual(Buffer.from([0x08, 0x02]));
  server.setServing(true);
});

test("reflection lists the services and describes them, unless it is switched off", async () => {
  const listed = await raw(server.address, reflectionPath, listServices);
  expect(String(listed)).toContain("chom.jobs.v1.JobsService");
  // ServerReflectionRequest{file_containing_symbol}.
  const symbol = Buffer.from("chom.jobs.v1.JobsService");
  const asked = Buffer.concat([Buffer.from([0x22, symbol.length]), symbol]);
  const described = String(await raw(server.address, reflectionPath, asked));
  expect(described).toContain("chom/jobs/v1/jobs.proto");
  expect(described).toContain("WatchJobs");
  const production = await start({ reflection: false });
  try {
    expect(await raw(production.address, reflectionPath, listServices)).toBe(status.UNIMPLEMENTED);
  } finally {
    await production.close(1_000);
  }
});

test("a method whose id does not say what it names keeps the server from starting", async () => {
  const resources = { "/chom.jobs.v1.JobsService/GetJob": { jobId: "" } };
  await expect(start({ resources })).rejects.toThrow(
    "/chom.jobs.v1.JobsService/GetJob: the field jobId declares no resource",
  );
});

test("case 38: a role grants its permissions beside those named, and an unknown role is refused", async () => {
  const claim = (role: unknown) => token({ role, permissions: [] });
  const viewer = { token: await claim("viewer") };
  expect((await using(viewer, ({ jobs }) => jobs.getJob(get("x")))).job?.tenant).toBe("acme");
  expect(await refusal({ token: await claim("root") })).toBe("unauthenticated");
  expect(await refusal({ token: await claim(["owner"]) })).toBe("unauthenticated");
  expect(await refusal({ token: await claim(undefined) })).toBe("not-permitted");
});

test("a method without a declared permission, or with an open handler, keeps the server from starting", async () => {
  const { "/chom.jobs.v1.JobsService/CancelJob": _, ...fewer } = permissions;
  await expect(start({ permissions: fewer })).rejects.toThrow("CancelJob declares no permission");
  const open = { ...jobs, implementation: { ...jobs.implementation, getJob: () => {} } };
  await expect(start({ services: [open] })).rejects.toThrow('"getJob" was not made by');
});

test("a server whose certificate is not for its address is not spoken to", async () => {
  const ca = await createCa("elsewhere");
  const made = await issueCertificate(ca, { commonName: "x", ipAddresses: ["127.0.0.2"] });
  const wrong = await start({ tls: identity(ca.certPem, made) });
  try {
    const by = {
      token: await token(),
      address: wrong.address,
      client: { ...clients.ssl, ca: Buffer.from(ca.certPem) },
    };
    const call = using(by, ({ jobs }) => jobs.getJob(get("fine"), { deadlineMs: 3_000 }));
    expect((await failureOf(call)).code).toMatch(/service-unavailable|deadline-exceeded/);
    const untrusted = using({ ...by, client: clients.ssl }, ({ jobs }) =>
      jobs.getJob(get("fine"), { deadlineMs: 3_000 }),
    );
    expect((await failureOf(untrusted)).code).toMatch(/service-unavailable|deadline-exceeded/);
  } finally {
    await wrong.close(1_000);
  }
});

test("closing lets running calls end", async () => {
  const short = await start();
  behaviours["slow"] = () => new Promise((resolve) => setTimeout(resolve, 500));
  const call = using({ token: await token(), address: short.address }, ({ jobs }) =>
    jobs.getJob(get("slow")),
  );
  await expect.poll(() => lastCaller?.actor).toBe("alice");
  await new Promise((resolve) => setTimeout(resolve, 200));
  await short.close(5_000);
  expect((await call).job?.jobId).toBe("slow");
});
