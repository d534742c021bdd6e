import { connect as dial, type Socket } from "node:net";
import { setImmediate as breathe } from "node:timers/promises";
import { newSshKeyPair } from "@chom/stack/ssh-keys";
import ssh2 from "ssh2";
import { afterEach, expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import {
  type Behaviour,
  type Hostile,
  hostileSshServer,
  rawServer,
  type Say,
  sshString,
} from "../testing/hostile-ssh-server.ts";
import { begin, downloadOf, runRemotely } from "./remote-run.ts";
import { SigningAgent } from "./signing-agent.ts";
import { type Connection, connect, type Login } from "./ssh.ts";
import type { Deadlines } from "./ssh-wire.ts";

const own = newSshKeyPair();
const privateKey = ssh2.utils.parseKey(own.private) as ssh2.ParsedKey;
let signatures = 0;
const agent = () =>
  new SigningAgent([own.public], async (_, data) => {
    signatures += 1;
    return privateKey.sign(data);
  });

const open: { close(): Promise<void> }[] = [];
const connections: Connection[] = [];
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.end();
  for (const server of open.splice(0)) await server.close();
});
async function hostile(behaviour: Behaviour): Promise<Hostile> {
  const server = await hostileSshServer(behaviour);
  open.push(server);
  return server;
}
async function raw(serve: (socket: Socket) => void): Promise<Hostile> {
  const server = await rawServer(serve);
  open.push(server);
  return server;
}

type More = { login?: Login; deadlines?: Partial<Deadlines>; hostKey?: string };
async function connected(server: Hostile, more: More = {}): Promise<Connection> {
  const connection = await connect({
    address: "127.0.0.1",
    port: server.port,
    user: "chom",
    hostKeys: [more.hostKey ?? server.hostKey],
    login: more.login ?? { agent: agent() },
    onHostKeyMismatch: () => {},
    signal: new AbortController().signal,
    deadlines: more.deadlines ?? {},
  });
  connections.push(connection);
  return connection;
}
const failureOf = (work: Promise<unknown>): Promise<Failure> =>
  work.then(
    (value) => Promise.reject(new Error(`it succeeded: ${JSON.stringify(value)}`)),
    (error: Failure) => error,
  );
const run = async (server: Hostile, deadlines: Partial<Deadlines> = {}) =>
  runRemotely(await connected(server, { deadlines }), {
    opening: Buffer.from("\n\n"),
    signal: new AbortController().signal,
  });
const lost = async (connection: Connection): Promise<Failure> => {
  await new Promise((resolve) => {
    if (connection.lost.aborted) return resolve(0);
    return connection.lost.addEventListener("abort", resolve, { once: true });
  });
  return connection.lost.reason as Failure;
};

/** Writes without end, as fast as it is read. */
function endlessly(socket: Socket, text: string): void {
  void (async () => {
    while (!socket.destroyed) {
      if (socket.writableLength < 1_000_000) socket.write(text.repeat(1_000));
      await breathe();
    }
  })();
}

test.each([
  [
    "names itself in an endless line",
    (socket: Socket) => endlessly(socket, "SSH-2.0-x"),
    /endless/,
  ],
  ["greets with endless lines", (socket: Socket) => endlessly(socket, "hello\r\n"), /greets/],
  ["greets with one endless line", (socket: Socket) => endlessly(socket, "hello"), /greets/],
  [
    "sends packets that are none",
    (socket: Socket) => socket.write(`SSH-2.0-x\r\n${"z".repeat(99)}`),
    /packets/,
  ],
])("case 31: a server that %s is given up before any key exchange", async (_, serve, why) => {
  const server = await raw(serve);
  const failure = await failureOf(connected(server));
  expect(failure).toMatchObject({ code: "ssh-misbehaving", kind: "transient" });
  expect(failure.message).toMatch(why);
  // What was under way when it was cut off: socket buffers, not megabytes without end.
  expect(server.sent()).toBeLessThan(32 * 1024 * 1024);
});

const silent: readonly (readonly [string, Behaviour | ((socket: Socket) => void), RegExp])[] = [
  ["says nothing", () => {}, /greeting/],
  ["says one byte", (socket) => void socket.write("S"), /greeting/],
  ["says its name only", (socket) => void socket.write("SSH-2.0-x\r\n"), /greeting/],
  ["never answers a log-in", { login: () => {} }, /log-in/],
];
test.each(silent)(
  "case 31: a server that %s is given up at that part's deadline",
  async (_, how, part) => {
    const server = typeof how === "function" ? await raw(how) : await hostile(how);
    const failure = await failureOf(
      connected(server, { deadlines: { greetMs: 300, loginMs: 300 } }),
    );
    expect(failure).toMatchObject({ code: "ssh-connect-timeout", kind: "transient" });
    expect(failure.message).toMatch(part);
  },
);

test("case 31: an offer without the exchange that should follow is given up at its deadline", async () => {
  const honest = await hostile({});
  // The offer of an honest server, and nothing after it.
  const server = await raw((socket) => {
    const far = dial(honest.port, "127.0.0.1");
    far.once("connect", () => far.write("SSH-2.0-probe\r\n"));
    far.on("data", (bytes) => socket.write(bytes));
    far.on("error", () => {});
    socket.on("close", () => far.destroy());
  });
  const failure = await failureOf(connected(server, { deadlines: { exchangeMs: 300 } }));
  expect(failure).toMatchObject({ code: "ssh-connect-timeout" });
  expect(failure.message).toContain("key exchange");
});

test("case 31: endless banners end a log-in, not the worker", async () => {
  const banner = Buffer.concat([Buffer.from([53]), sshString("x".repeat(16_000)), sshString("")]);
  const server = await hostile({ login: (_, say) => say.flood(banner) });
  expect((await failureOf(connected(server))).code).toBe("ssh-misbehaving");
  expect(server.sent()).toBeLessThan(32 * 1024 * 1024);
});

test("case 31: channels that never open, and commands that never begin, have their ends", async () => {
  const shut = await hostile({ opens: false });
  const opening = await failureOf(run(shut, { channelMs: 200 }));
  expect(opening).toMatchObject({ code: "ssh-misbehaving", kind: "transient" });
  const mute = await hostile({ exec: () => {} });
  const beginning = await failureOf(run(mute, { beginMs: 200 }));
  expect(beginning).toMatchObject({ code: "ssh-misbehaving" });
  expect(beginning.message).toContain("did not begin");
});

const outputs: readonly (readonly [
  string,
  (channel: ssh2.ServerChannel, say: Say) => void,
  string,
])[] = [
  [
    "prints without end",
    (c, say) => say.flood(() => void c.write("x".repeat(1_000))),
    "output-too-large",
  ],
  [
    "reports without end",
    (c, say) => say.flood(() => void c.stderr.write("x".repeat(1_000))),
    "output-too-large",
  ],
  [
    "reports without end in single bytes",
    (c, say) => say.flood(() => void c.stderr.write("x")),
    "ssh-misbehaving|output-too-large",
  ],
];
test.each(outputs)("case 31: a server that %s is cut off", async (_, exec, code) => {
  const server = await hostile({ exec });
  expect((await failureOf(run(server))).code).toMatch(new RegExp(`^(?:${code})$`));
  expect(server.sent()).toBeLessThan(64 * 1024 * 1024);
});

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const windowAdjust = Buffer.concat([Buffer.from([93]), number(0), number(1)]);
const globalRequest = Buffer.concat([
  Buffer.from([80]),
  sshString("what@example.com"),
  Buffer.from([1]),
]);
const ignored = Buffer.concat([Buffer.from([2]), sshString("x".repeat(10_000))]);
const foreignData = Buffer.concat([Buffer.from([94]), number(7), sshString("x".repeat(10_000))]);
const floods: readonly (readonly [string, (say: Say) => void])[] = [
  ["window updates", (say) => say.flood(windowAdjust)],
  ["global requests", (say) => say.flood(globalRequest)],
  ["ignored messages", (say) => say.flood(ignored)],
  ["data of channels that are not", (say) => say.flood(foreignData)],
  [
    "key exchanges",
    (say) => {
      const again = () => say.client.rekey(() => again());
      again();
    },
  ],
];
test.each(floods)("case 31: a flood of %s ends the connection", async (_, ready) => {
  const server = await hostile({ ready });
  const connection = await connected(server);
  expect(await lost(connection)).toMatchObject({ code: "ssh-misbehaving", kind: "transient" });
  expect(server.sent()).toBeLessThan(64 * 1024 * 1024);
});

test("case 31: a server that ignores its window cannot fill our memory", async () => {
  const exec: Behaviour["exec"] = (channel, say) => {
    channel.stderr.write("chom=1\nstarted=yes\n");
    const data = Buffer.concat([Buffer.from([94]), number(0), sshString("x".repeat(30_000))]);
    say.flood(data);
  };
  const server = await hostile({ exec });
  const connection = await connected(server);
  const { channel, report } = await begin(connection, {
    opening: Buffer.from("\n\n"),
    signal: new AbortController().signal,
  });
  // Nobody reads it, as when what it is stored in is slow.
  downloadOf(channel, report);
  channel.pause();
  expect(await failureOf(report)).toMatchObject({ code: "ssh-misbehaving" });
});

const report = `chom=1\nstarted=yes\nout=${Buffer.from("v=1\n").toString("base64")}\nlog=\nstatus=0\nstate=finished\nend=1\n`;
test("case 31: a channel that never closes after its last word is closed for the server", async () => {
  const server = await hostile({ exec: (channel) => void channel.stderr.write(report) });
  const { status } = await run(server, { closeMs: 200 });
  expect(status).toBe(0);
});

test("case 31: an exit status is no report: made up or missing, nothing counts as success", async () => {
  const fake = await hostile({
    exec(channel) {
      channel.exit(0);
      channel.end();
    },
  });
  expect((await failureOf(run(fake))).code).toBe("protocol-error");
  const none = await hostile({ exec: (channel) => void channel.close() });
  expect((await failureOf(run(none))).code).toBe("ssh-connection-lost");
  const half = await hostile({
    exec(channel) {
      channel.stderr.write(report.slice(0, -7));
      channel.exit(0);
      channel.end();
    },
  });
  expect((await failureOf(run(half))).code).toBe("ssh-connection-lost");
});

test("case 31: a hundred servers that say nothing do not keep a healthy one waiting", async () => {
  const tarpit = await raw((socket) => void socket.write("SSH"));
  const held = Array.from({ length: 100 }, () => failureOf(connected(tarpit)));
  let given = 0;
  for (const each of held) void each.then(() => (given += 1));
  const healthy = await hostile({
    exec(channel) {
      channel.stderr.write(report);
      channel.exit(0);
      channel.end();
    },
  });
  for (let at = 0; at < 10; at += 1) expect((await run(healthy)).status).toBe(0);
  expect(given).toBe(0);
  await tarpit.close();
  open.splice(open.indexOf(tarpit), 1);
  for (const each of held) expect((await each).code).toBe("ssh-connection-lost");
}, 20_000);

test.each([
  [
    "a forwarded port",
    "forwarded-tcpip",
    [sshString("0.0.0.0"), number(80), sshString("10.0.0.1"), number(1)],
  ],
  [
    "a connection of its own",
    "direct-tcpip",
    [sshString("10.0.0.1"), number(80), sshString("h"), number(1)],
  ],
  ["the agent", "auth-agent@openssh.com", []],
  ["the screen", "x11", [sshString("h"), number(1)]],
  ["a shell on our side", "session", []],
])("case 32: a server that opens a channel to %s is given up", async (_, type, data) => {
  let confirmed = 0;
  const opening = Buffer.concat([
    Buffer.from([90]),
    sshString(type),
    ...[0, 1_000_000, 32_768].map(number),
    ...data,
  ]);
  const server = await hostile({
    ready(say) {
      const { _protocol } = say.client as unknown as {
        _protocol: { _handlers: Record<string, unknown> };
      };
      _protocol["_handlers"]["CHANNEL_OPEN_CONFIRMATION"] = () => (confirmed += 1);
      say.message(opening);
    },
  });
  // Which of the two comes first is the network's choice.
  const failure = await connected(server).then(lost, (error: Failure) => error);
  expect(failure).toMatchObject({ code: "ssh-misbehaving" });
  expect(confirmed).toBe(0);
});

test("case 32: a server that takes no key and offers passwords and dialogue gets neither", async () => {
  const asked: string[] = [];
  const server = await hostile({
    login(context) {
      asked.push(context.method);
      context.reject(["password", "keyboard-interactive", "hostbased", "none"]);
    },
  });
  expect(await failureOf(connected(server))).toMatchObject({ code: "ssh-auth-failed" });
  expect(new Set(asked)).toEqual(new Set(["publickey"]));
});

test("case 32: a question instead of an answer to a key is answered with the key or not at all", async () => {
  const asked: string[] = [];
  const question = Buffer.concat([
    ...[Buffer.from([60]), sshString("Password"), sshString("please"), sshString("")],
    ...[number(1), sshString("Password: "), Buffer.from([0])],
  ]);
  const server = await hostile({
    login(context, say) {
      asked.push(context.method);
      say.message(question);
    },
  });
  const failure = await failureOf(connected(server, { deadlines: { loginMs: 2_000 } }));
  expect(failure.code).toMatch(/^ssh-(?:misbehaving|connect-timeout)$/);
  expect(new Set(asked)).toEqual(new Set(["publickey"]));
});

test("case 32: a one-time password is said once: no other one is made up when a server wants that", async () => {
  const asked: string[] = [];
  const change = Buffer.concat([Buffer.from([60]), sshString("New password: "), sshString("")]);
  const server = await hostile({
    login(context, say) {
      asked.push(context.method);
      say.message(change);
    },
  });
  const login = { password: new Secret("once") };
  expect(await failureOf(connected(server, { login }))).toMatchObject({ code: "ssh-auth-failed" });
  expect(asked).toEqual(["password"]);
});

test("case 32: a server gets one signature of a key a log-in, however often it asks", async () => {
  signatures = 0;
  const server = await hostile({
    login(context, say) {
      if (context.method !== "publickey") return context.reject();
      const { algo, data } = context.key;
      return say.message(Buffer.concat([Buffer.from([60]), sshString(algo), sshString(data)]));
    },
  });
  const failure = await failureOf(connected(server, { deadlines: { loginMs: 1_000 } }));
  expect(failure.kind).toBe("transient");
  expect(signatures).toBe(1);
});
