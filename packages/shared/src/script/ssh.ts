/** One SSH connection: pinned host keys, strong algorithms, keys held by an agent, and no wait without an end. */
import type { Socket } from "node:net";
import ssh2, { type BaseAgent, type Client, type ClientChannel } from "ssh2";
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import { scrubLine } from "../secrets/scrub.ts";
import type { Secret } from "../secrets/secret.ts";
import {
  algorithms,
  hostKeyOrder,
  isShortRsa,
  lineOf,
  parsePublicKeyLine,
  type Pin,
} from "./ssh-algorithms.ts";
import {
  type Deadlines,
  defaultDeadlines,
  phases,
  reach,
  type Wire,
  watchWire,
} from "./ssh-wire.ts";

export type Target = {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** OpenSSH lines, `ssh-ed25519 AAAA…`; the server must show one of them. */
  readonly hostKeys: readonly string[];
};

/** The one way to log in that is tried. A password or key is only for installing the first key, and then gone. */
export type Login =
  | { readonly agent: BaseAgent }
  | { readonly password: Secret }
  | { readonly privateKey: Secret };

export type ConnectOptions = Target & {
  readonly login: Login;
  /** Told what a server showed instead of a pinned key; nothing was sent to it that proves who we are. */
  readonly onHostKeyMismatch: (hostKey: string) => void;
  readonly signal: AbortSignal;
  readonly deadlines?: Partial<Deadlines>;
  /** A peer silent for four of these is dead; default 15 s. */
  readonly keepaliveMs?: number;
};

export type Command = {
  readonly channel: ClientChannel;
  /** What the server said the command ended with, if it has. */
  readonly exitCode: () => number | undefined;
};

export type Connection = {
  /** Aborted with a Failure when the connection ends, whoever ended it. */
  readonly lost: AbortSignal;
  /** Starts a command; rejects with the Failure of a lost connection or the signal's reason. */
  exec(command: string, signal: AbortSignal): Promise<Command>;
  readonly deadlines: Deadlines;
  end(): void;
};

/** What a connection in the making has: where it fails to, and how far it is. */
type Making = {
  readonly options: ConnectOptions;
  readonly pins: readonly Pin[];
  readonly deadlines: Deadlines;
  readonly fail: (failure: Failure) => void;
};

/**
 * Connects and logs in. Codes: ssh-connect-timeout (each part of it has its own deadline), ssh-connection-refused,
 * ssh-unreachable, ssh-connection-lost, ssh-auth-failed, ssh-host-key-mismatch, weak-crypto (told before anything is sent
 * that proves who we are), ssh-misbehaving (floods, or asks for what a server has no business to), and those of the agent.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const pins = options.hostKeys.map(parsePublicKeyLine);
  if (pins.length === 0) throw failureOf("invalid-config", "a server without pinned host keys");
  options.signal.throwIfAborted();
  const client: Client = new ssh2.Client();
  const ended = new AbortController();
  let socket: Socket | undefined;
  const fail = (failure: Failure) => {
    if (!ended.signal.aborted) ended.abort(failure);
    client.destroy();
    // Not left to the client: it waits for the peer's half to end.
    socket?.destroy();
  };
  const deadlines = { ...defaultDeadlines, ...options.deadlines };
  const phase = phases(options.address, fail);
  try {
    phase.enter("reaching the server", deadlines.reachMs);
    socket = await reach(options, AbortSignal.any([ended.signal, options.signal])).catch(
      (error: unknown) => {
        throw options.signal.aborted ? error : failureOfError(error as SshError, options);
      },
    );
    phase.enter("its greeting", deadlines.greetMs);
    const wire = watchWire(socket, {
      fail,
      offered: () => phase.enter("its key exchange", deadlines.exchangeMs),
    });
    client.on("handshake", () => wire.rekeyed());
    client.once("handshake", () => phase.enter("the log-in", deadlines.loginMs));
    const ready = new Promise<void>((resolve) => client.once("ready", resolve));
    client.once("ready", () => wire.loggedIn());
    listen(client, { options, pins, deadlines, fail });
    client.connect({ ...clientConfig({ options, pins, deadlines, fail }), sock: socket });
    await unlessAborted(ready, [ended.signal, options.signal]);
    return {
      lost: ended.signal,
      deadlines,
      exec: (command, signal) =>
        exec(client, command, { wire, deadlines, signals: [ended.signal, signal] }),
      end: () => {
        client.end();
        client.destroy();
      },
    };
  } catch (error) {
    client.destroy();
    socket?.destroy();
    throw error;
  } finally {
    phase.over();
  }
}

function listen(client: Client, { options, fail }: Making): void {
  client.on("error", (error: SshError) => fail(failureOfError(error, options)));
  client.on("close", () =>
    fail(failureOf("ssh-connection-lost", `the connection to ${options.address} ended`)),
  );
  // Nobody answers it, so nothing would ever come after it.
  client.on("change password", () =>
    fail(failureOf("ssh-auth-failed", `${options.address} wants another password first`)),
  );
}

function clientConfig({ options, pins, fail }: Making): ssh2.ConnectConfig {
  return {
    username: options.user,
    authHandler: [authMethod(options.user, options.login)],
    agentForward: false,
    tryKeyboard: false,
    algorithms: { ...algorithms, serverHostKey: hostKeyOrder(pins) } as ssh2.Algorithms,
    hostVerifier: (shown: Buffer): boolean => {
      const failure = refusalOf(shown, pins, options.address);
      if (!failure) return true;
      fail(failure);
      if (failure.code === "ssh-host-key-mismatch") options.onHostKeyMismatch(lineOf(shown));
      return false;
    },
    // Our own deadlines are finer.
    readyTimeout: 0,
    keepaliveInterval: options.keepaliveMs ?? 15_000,
    keepaliveCountMax: 4,
    debug: (message) => {
      const asked = uncalledFor.find((words) => message.startsWith(words));
      if (asked !== undefined)
        fail(failureOf("ssh-misbehaving", `${options.address}: ${scrubLine(message)}`));
    },
  };
}

/** The client library refuses these by itself and says so here only. A server that asks for them is none of ours. */
const uncalledFor = [
  "Client: Automatic rejection of",
  "Inbound: Received USERAUTH_INFO_REQUEST",
  "Inbound: Received unexpected payload type 60",
] as const;

function refusalOf(shown: Buffer, pins: readonly Pin[], address: string): Failure | undefined {
  if (!pins.some(({ blob }) => blob.equals(shown))) {
    return failureOf("ssh-host-key-mismatch", `${address} showed an unknown host key`);
  }
  if (!isShortRsa(shown)) return undefined;
  return failureOf("weak-crypto", `${address} has an RSA host key of less than 2048 bits`);
}

function authMethod(username: string, login: Login): ssh2.AnyAuthMethod {
  if ("agent" in login) return { type: "agent", username, agent: login.agent };
  return "password" in login
    ? { type: "password", username, password: login.password.reveal() }
    : { type: "publickey", username, key: login.privateKey.reveal() };
}

type Opening = {
  readonly wire: Wire;
  readonly deadlines: Deadlines;
  readonly signals: readonly AbortSignal[];
};

async function exec(
  client: Client,
  command: string,
  { wire, deadlines, signals }: Opening,
): Promise<Command> {
  const late = new AbortController();
  const opened = new Promise<Command>((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (error) {
        const said = scrubLine(`no channel: ${error.message}`);
        return reject(failureOf("ssh-connection-lost", said, { cause: error }));
      }
      wire.meter(channel);
      wire.meter(channel.stderr);
      // At once: a command may have ended by the time that anybody hears of its channel.
      let exitCode: number | undefined;
      channel.on("exit", (code: number | null) => {
        exitCode = code ?? undefined;
      });
      resolve({ channel, exitCode: () => exitCode });
    });
  });
  const timer = setTimeout(
    () => late.abort(failureOf("ssh-misbehaving", "the server opened no channel in time")),
    deadlines.channelMs,
  );
  try {
    return await unlessAborted(opened, [...signals, late.signal]);
  } catch (error) {
    // A channel that opens after nobody waits for it is closed again.
    void opened.then(({ channel }) => channel.close()).catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What comes first: the promise, or a signal's abort, which rejects with its reason. Leaves no listeners behind. */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signals: readonly AbortSignal[],
): Promise<T> {
  const settled = new AbortController();
  try {
    return await new Promise<T>((resolve, reject) => {
      for (const signal of signals) {
        const give = () => reject(signal.reason);
        if (signal.aborted) give();
        signal.addEventListener("abort", give, { once: true, signal: settled.signal });
      }
      promise.then(resolve, reject);
    });
  } finally {
    settled.abort();
  }
}

type SshError = Error & { level?: string; code?: string };

const codesOfErrno: Readonly<Record<string, string>> = {
  ECONNREFUSED: "ssh-connection-refused",
  ETIMEDOUT: "ssh-connect-timeout",
  EHOSTUNREACH: "ssh-unreachable",
  ENETUNREACH: "ssh-unreachable",
  ENOTFOUND: "ssh-unreachable",
  EAI_AGAIN: "ssh-unreachable",
};

function codeOfError({ level, code, message }: SshError): string {
  if (level === "client-authentication") return "ssh-auth-failed";
  if (level === "agent") return "signer-unavailable";
  if (/no matching/i.test(message)) return "weak-crypto";
  if (level === "client-timeout") {
    return /keepalive/i.test(message) ? "ssh-connection-lost" : "ssh-connect-timeout";
  }
  return codesOfErrno[code ?? ""] ?? "ssh-connection-lost";
}

function failureOfError(error: SshError, { address }: Target): Failure {
  const found = classify(error);
  if (found.code !== "unexpected") return found;
  return failureOf(codeOfError(error), scrubLine(`${address}: ${error.message}`), { cause: error });
}
