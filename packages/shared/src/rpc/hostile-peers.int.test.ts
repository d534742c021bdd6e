/** Slow, flooding and malformed peers against a real server: they are cut off, and healthy callers notice nothing. */
import { randomBytes } from "node:crypto";
import { deflateSync, gzipSync } from "node:zlib";
import http2, { type ClientHttp2Session, constants } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import {
  type GetJobRequest,
  type GetJobResponse,
  Job,
  JobsServiceService,
} from "@chom/proto/chom/jobs/v1/jobs";
import { permissions } from "@chom/proto/permissions";
import { createCa, issueCertificate } from "@chom/stack/certificates";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Secret } from "../secrets/secret.ts";
import { createLogger } from "../telemetry/logger.ts";
import { connectRpc } from "./client.ts";
import { type RpcServer, startRpcServer } from "./server.ts";
import { unary } from "./unary.ts";

const callPath = "/chom.jobs.v1.JobsService/GetJob";
let server: RpcServer;
let port: number;
let ca: Buffer;
let bearer: string;
let handled = 0;

const unused = unary(async () => {
  throw new Error("not called");
});

beforeAll(async () => {
  const keys = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const authority = await createCa("test");
  const made = await issueCertificate(authority, {
    commonName: "server",
    ipAddresses: ["127.0.0.1"],
  });
  ca = Buffer.from(authority.certPem);
  bearer = await new SignJWT({ sub: "alice", tenant: "acme", permissions: ["job.read"] })
    .setProtectedHeader({ alg: "EdDSA", kid: "a" })
    .setAudience("chom")
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(keys.privateKey);
  server = await startRpcServer({
    listen: "127.0.0.1:0",
    tls: { ca, cert: Buffer.from(made.certPem), key: Buffer.from(made.keyPem) },
    tokenKeys: { keys: [{ ...(await exportJWK(keys.publicKey)), kid: "a" }] },
    permissions,
    services: [
      {
        definition: JobsServiceService,
        implementation: {
          getJob: unary(async (request: GetJobRequest): Promise<GetJobResponse> => {
            handled += 1;
            const errorMessage = request.jobId === "large" ? "x".repeat(1_000_000) : "";
            return {
              job: Job.fromPartial({ jobId: request.jobId, failure: { message: errorMessage } }),
            };
          }),
          ...{ listJobs: unused, watchJob: unused, cancelJob: unused },
        },
      },
    ],
    reflection: false,
    logger: createLogger({ service: "test", level: "silent" }),
    callLimits: { perCaller: 100_000, perTenant: 100_000 },
    sessionLimits: {
      ...{ connectionsPerAddress: 100, greetingMs: 2_000 },
      ...{ requestMs: 500, unaryMs: 1_500 },
    },
  });
  server.setServing(true);
  port = Number(server.address.split(":").at(-1));
});
afterAll(() => server?.close(1_000));

/** Calls one after another until `hostile` is over, and at least 20 of them; each must be answered. */
async function healthyDuring(hostile: () => Promise<unknown>): Promise<void> {
  const { calls, close } = connectRpc(JobsServiceService, {
    address: server.address,
    tls: { ca },
    token: () => new Secret(bearer),
  });
  onTestFinished(close);
  let isOver = false;
  const attack = hostile().finally(() => {
    isOver = true;
  });
  for (let call = 0; call < 20 || !isOver; call += 1) {
    const jobId = `healthy-${call}`;
    const answer = await calls.getJob({ jobId, minPosition: 0n }, { deadlineMs: 30_000 });
    expect(answer.job?.jobId).toBe(jobId);
  }
  await attack;
}

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on("error", () => {}).once("close", () => resolve());
    // Somebody must read, or the end is never noticed.
    socket.resume();
  });

/** From another address of this machine than the healthy caller's. */
function hostileSocket(localAddress = "127.0.0.2"): Socket {
  const socket = connectTcp({ host: "127.0.0.1", port, localAddress });
  onTestFinished(() => void socket.destroy());
  return socket;
}

function hostileSession(options: http2.SecureClientSessionOptions = {}): {
  session: ClientHttp2Session;
  over: Promise<number | undefined>;
} {
  const session = http2.connect(`https://127.0.0.1:${port}`, { ca, ...options });
  onTestFinished(() => session.destroy());
  let code: number | undefined;
  const over = new Promise<number | undefined>((resolve) => {
    session.on("goaway", (given) => {
      code = given;
    });
    session.on("error", () => {}).once("close", () => resolve(code));
  });
  return { session, over };
}

const headers = (more: http2.OutgoingHttpHeaders = {}): http2.OutgoingHttpHeaders => ({
  ":method": "POST",
  ":path": callPath,
  "content-type": "application/grpc",
  te: "trailers",
  authorization: `Bearer ${bearer}`,
  ...more,
});

test("case 57: a thousand connections that say nothing, or a byte at a time, are cut off while healthy calls complete", async () => {
  const before = process.memoryUsage.rss();
  await healthyDuring(async () => {
    const sockets = Array.from({ length: 1_000 }, () => hostileSocket());
    const ends = sockets.map(closed);
    // Half of them drip the beginning of a TLS record that never ends.
    const drip = setInterval(() => {
      for (const [index, socket] of sockets.entries()) {
        if (index % 2 === 0 && !socket.destroyed) socket.write(Buffer.from([0x16]));
      }
    }, 200);
    await Promise.all(ends);
    clearInterval(drip);
  });
  expect(process.memoryUsage.rss() - before).toBeLessThan(256 << 20);
});

test("case 57: requests that arrive a byte at a time are ended, and their places are free again", async () => {
  await healthyDuring(async () => {
    const { session } = hostileSession();
    const streams = Array.from({ length: 100 }, () => session.request(headers()));
    const ends = streams.map((stream) =>
      closed(stream as unknown as Socket).then(() => stream.rstCode),
    );
    const drip = setInterval(() => {
      for (const stream of streams) if (!stream.destroyed) stream.write(Buffer.from([0]));
    }, 100);
    const codes = await Promise.all(ends);
    clearInterval(drip);
    expect(new Set(codes)).toEqual(new Set([constants.NGHTTP2_ENHANCE_YOUR_CALM]));
  });
});

test("case 57: answers that nobody reads are dropped", async () => {
  await healthyDuring(async () => {
    const { session } = hostileSession({ settings: { initialWindowSize: 0 } });
    const body = Buffer.from([0, 0, 0, 0, 7, 0x0a, 5, ...Buffer.from("large")]);
    const ends = Array.from({ length: 20 }, () => {
      const stream = session.request(headers());
      stream.end(body);
      return new Promise((resolve) => stream.on("error", () => {}).once("close", resolve));
    });
    await Promise.all(ends);
  });
});

test("case 57: floods of pings and of settings end their connection", async () => {
  await healthyDuring(async () => {
    const pinging = hostileSession({ maxOutstandingPings: 100_000 });
    pinging.session.once("connect", () => {
      for (let n = 0; n < 2_000; n += 1) pinging.session.ping(() => {});
    });
    expect(await pinging.over).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    await rawly((socket) => {
      socket.write(preface);
      for (let n = 0; n < 1_000; n += 1) socket.write(frame(4, 0, 0, Buffer.alloc(0)));
    });
  });
});

/** One frame of HTTP/2. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const preface = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(4, 0, 0, Buffer.alloc(0)),
]);

/** Speaks raw bytes over TLS and answers when the server has hung up. */
async function rawly(send: (socket: TLSSocket) => void): Promise<void> {
  const socket = connectTls({ port, host: "127.0.0.1", ca, ALPNProtocols: ["h2"] });
  onTestFinished(() => void socket.destroy());
  socket.once("secureConnect", () => send(socket));
  await closed(socket);
}

/** An HPACK literal without indexing, name and value as they are. */
const literal = (name: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
const start = Buffer.concat([
  literal(":method", "POST"),
  literal(":scheme", "https"),
  literal(":path", callPath),
  literal("content-type", "application/grpc"),
]);

test("case 57: streams opened and reset at once end their connection", async () => {
  await healthyDuring(() =>
    rawly((socket) => {
      socket.write(preface);
      const reset = Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL]);
      for (let n = 0; n < 5_000; n += 1) {
        const id = 2 * n + 1;
        socket.write(Buffer.concat([frame(1, 4, id, start), frame(3, 0, id, reset)]));
      }
    }),
  );
});

test("case 57: headers that never end, and more streams than allowed, end their connection", async () => {
  await healthyDuring(() =>
    Promise.all([
      rawly((socket) => {
        socket.write(Buffer.concat([preface, frame(1, 0, 1, start)]));
        const more = frame(9, 0, 1, literal("x-more", "x".repeat(100)));
        for (let n = 0; n < 1_000; n += 1) socket.write(more);
      }),
      rawly((socket) => {
        socket.write(preface);
        // Without END_STREAM: each wants to stay open.
        for (let n = 0; n < 5_000; n += 1) socket.write(frame(1, 4, 2 * n + 1, start));
      }),
    ]),
  );
});

const grpc = (flag: number, length: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
};

/** A connection that sends this and closes its half. */
const malformed: Record<string, Buffer> = {
  "HTTP/1.1": Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  "a wrong preface": Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
  "a frame longer than allowed": Buffer.concat([preface, frame(0, 0, 1, Buffer.alloc(100_000))]),
  "data on the connection": Buffer.concat([preface, frame(0, 0, 0, Buffer.alloc(10))]),
  "data on a stream nobody opened": Buffer.concat([preface, frame(0, 0, 7, Buffer.alloc(10))]),
  "an even stream": Buffer.concat([preface, frame(1, 5, 2, start)]),
  "headers that are no HPACK": Buffer.concat([preface, frame(1, 5, 1, Buffer.alloc(50, 0xff))]),
  "headers without pseudo-headers": Buffer.concat([preface, frame(1, 5, 1, literal("a", "b"))]),
  "an upper-case header": Buffer.concat([
    preface,
    frame(1, 5, 1, Buffer.concat([start, literal("X-Up", "b")])),
  ]),
  "padding longer than its frame": Buffer.concat([preface, frame(0, 8, 1, Buffer.from([200, 1]))]),
  "continuation of nothing": Buffer.concat([preface, frame(9, 4, 1, start)]),
  "a push from a client": Buffer.concat([preface, frame(5, 4, 1, Buffer.alloc(8))]),
  "a window that overflows": Buffer.concat([
    preface,
    ...[1, 2].map(() => frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))),
  ]),
  "a window of nothing": Buffer.concat([preface, frame(8, 0, 0, Buffer.alloc(4))]),
  "settings of odd length": Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(7))]),
  "settings with a mad value": Buffer.concat([
    preface,
    frame(4, 0, 0, Buffer.from([0, 4, 0xff, 0xff, 0xff, 0xff])),
  ]),
  "a ping of four bytes": Buffer.concat([preface, frame(6, 0, 0, Buffer.alloc(4))]),
  "a stream that depends on itself": Buffer.concat([
    preface,
    frame(2, 0, 1, Buffer.from([0, 0, 0, 1, 1])),
  ]),
  "frames of unknown types": Buffer.concat([
    preface,
    ...Array.from({ length: 50 }, (_, n) => frame(0x20 + n, 0xff, n, Buffer.alloc(20))),
  ]),
  "half a frame": Buffer.concat([preface, frame(1, 5, 1, start).subarray(0, 12)]),
};
const messages: Record<string, Buffer> = {
  "no message": Buffer.alloc(0),
  "half a head": Buffer.from([0, 0]),
  "two gigabytes announced": grpc(0, 0x7f_ff_ff_ff, Buffer.alloc(10)),
  "less than announced": grpc(0, 100, Buffer.alloc(10)),
  "a varint without end": grpc(0, 12, Buffer.alloc(12, 0xff)),
  "a field longer than its message": grpc(0, 3, Buffer.from([0x0a, 0x7f, 0x61])),
  "two messages": Buffer.concat([grpc(0, 0, Buffer.alloc(0)), grpc(0, 0, Buffer.alloc(0))]),
};

test("case 52: malformed frames end their connection, and nobody else notices", async () => {
  await healthyDuring(async () => {
    for (const bytes of Object.values(malformed)) await rawly((socket) => void socket.end(bytes));
    for (let n = 0; n < 100; n += 1) {
      const noise = randomBytes(1 + (n % 50) * 20);
      await rawly((socket) => void socket.end(n % 2 ? noise : Buffer.concat([preface, noise])));
    }
  });
});

test.each(Object.entries(messages))(
  "case 52: a request with %s is refused and reaches no handler",
  async (name, body) => {
    const before = handled;
    const { session } = hostileSession();
    const stream = session.request(headers());
    let answered: unknown;
    stream.on("response", (given) => {
      answered ??= given["grpc-status"];
    });
    stream.on("trailers", (given) => {
      answered ??= given["grpc-status"];
    });
    stream.resume().end(body);
    await new Promise((resolve) => stream.on("error", () => {}).once("close", resolve));
    expect([name, answered]).not.toEqual([name, "0"]);
    expect(handled).toBe(before);
  },
);

test.each([
  ["gzip", { "grpc-encoding": "gzip" }, grpc(1, 20, gzipSync(Buffer.alloc(0)))],
  ["a bomb", { "grpc-encoding": "deflate" }, grpc(1, 1_000, deflateSync(Buffer.alloc(900_000)))],
  ["an unknown encoding", { "grpc-encoding": "snappy" }, grpc(1, 0, Buffer.alloc(0))],
  ["an encoding that is not used", { "grpc-encoding": "gzip" }, grpc(0, 0, Buffer.alloc(0))],
  ["a compression flag without an encoding", {}, grpc(1, 0, Buffer.alloc(0))],
  ["a flag that is none", {}, grpc(2, 0, Buffer.alloc(0))],
])(
  "case 52: a message with %s is answered UNIMPLEMENTED and reaches no handler",
  async (_, more, body) => {
    const before = handled;
    const { session } = hostileSession();
    const stream = session.request(headers(more));
    let answered: http2.IncomingHttpHeaders = {};
    stream.on("response", (given) => {
      answered = given;
    });
    stream.resume().end(body);
    await new Promise((resolve) => stream.on("error", () => {}).once("close", resolve));
    expect(answered["grpc-status"]).toBe("12");
    expect(answered["grpc-message"]).toMatch(/^compression-unsupported: /);
    expect(handled).toBe(before);
  },
);

test("case 55: metadata of more than 8 KiB, or of more than 64 pairs, is refused before anybody reads it", async () => {
  const before = handled;
  const large = { "x-large": "x".repeat(9_000) };
  const many = Object.fromEntries(Array.from({ length: 80 }, (_, n) => [`x-${n}`, "y"]));
  for (const more of [large, many]) {
    const { session } = hostileSession();
    const stream = session.request(headers(more));
    stream.resume().end(grpc(0, 0, Buffer.alloc(0)));
    await new Promise((resolve) => stream.on("error", () => {}).once("close", resolve));
    expect(stream.rstCode).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
  expect(handled).toBe(before);
});

test("case 37: odd verbs are no way around the credential", async () => {
  const before = handled;
  for (const verb of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"]) {
    const { session } = hostileSession();
    const { authorization: _, ...bare } = headers({ ":method": verb });
    const stream = session.request(bare, { endStream: false });
    let answered: unknown;
    stream.on("response", (given) => {
      answered = given["grpc-status"];
    });
    stream.resume().end(grpc(0, 0, Buffer.alloc(0)));
    await new Promise((resolve) => stream.on("error", () => {}).once("close", resolve));
    expect([verb, answered ?? "16"]).toEqual([verb, "16"]);
  }
  expect(handled).toBe(before);
});
