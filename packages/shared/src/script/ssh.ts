/** One SSH connection: pinned host keys, strong algorithms, keys held by an agent, and no wait without an end. */
import ssh2, { type BaseAgent, type Client, type ClientChannel } from "ssh2";
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import type { Secret } from "../secrets/secret.ts";

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
  /** For TCP, key exchange and login together; default 10 s. */
  readonly connectTimeoutMs?: number;
  /** A peer silent for four of these is dead; default 15 s. */
  readonly keepaliveMs?: number;
};

export type Connection = {
  /** Aborted with a Failure when the connection ends, whoever ended it. */
  readonly lost: AbortSignal;
  /** Starts a command; rejects with the Failure of a lost connection or the signal's reason. */
  exec(command: string, signal: AbortSignal): Promise<ClientChannel>;
  end(): void;
};

// Security page, (d) 8: curve25519; ed25519, ECDSA and RSA with SHA-2; authenticated ciphers only; no compression.
const hostKeyAlgorithms: Readonly<Record<string, readonly ssh2.ServerHostKeyAlgorithm[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};
const algorithms = {
  kex: ["curve25519-sha256", "curve25519-sha256@libssh.org"],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com" as ssh2.CipherAlgorithm,
  ],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
  compress: ["none"],
} satisfies ssh2.Algorithms;

type Pin = { readonly type: string; readonly blob: Buffer };

/** The parts of an OpenSSH public key line; Failure `invalid-config` when it is none. */
export function parsePublicKeyLine(line: string): Pin {
  const [type = "", encoded = ""] = line.trim().split(/\s+/);
  const blob = Buffer.from(encoded, "base64");
  const named =
    blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString("latin1") : "";
  if (type === "" || named !== type) {
    throw failureOf("invalid-config", "a public key line is not `type base64`");
  }
  return { type, blob };
}

/** Pinned kinds come first, so that a server with several keys shows the one that is known. */
function hostKeyOrder(pins: readonly Pin[]): ssh2.ServerHostKeyAlgorithm[] {
  const pinned = pins.flatMap(({ type }) => hostKeyAlgorithms[type] ?? []);
  return [...new Set([...pinned, ...Object.values(hostKeyAlgorithms).flat()])];
}

const lineOf = (blob: Buffer): string => {
  const end = blob.length > 4 ? 4 + blob.readUInt32BE(0) : 0;
  return `${blob.subarray(4, end).toString("latin1")} ${blob.toString("base64")}`;
};

/**
 * Connects and logs in. Codes: ssh-connect-timeout, ssh-connection-refused, ssh-unreachable, ssh-connection-lost,
 * ssh-auth-failed, ssh-host-key-mismatch, weak-crypto, and those of the agent.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const pins = options.hostKeys.map(parsePublicKeyLine);
  if (pins.length === 0) throw failureOf("invalid-config", "a server without pinned host keys");
  options.signal.throwIfAborted();
  const client: Client = new ssh2.Client();
  const ended = new AbortController();
  let mismatch: Failure | undefined;
  const fail = (failure: Failure) => {
    if (!ended.signal.aborted) ended.abort(failure);
    client.destroy();
  };
  client.on("error", (error: SshError) => fail(mismatch ?? failureOfError(error, options)));
  client.on("close", () =>
    fail(
      mismatch ?? failureOf("ssh-connection-lost", `the connection to ${options.address} ended`),
    ),
  );
  client.on("handshake", (negotiated) => {
    if (isTruncatable(client, negotiated)) {
      fail(failureOf("weak-crypto", `${options.address} has no strict key exchange`));
    }
  });
  const ready = new Promise<void>((resolve) => client.once("ready", resolve));
  client.connect({
    host: options.address,
    port: options.port,
    username: options.user,
    authHandler: [authMethod(options.user, options.login)],
    agentForward: false,
    algorithms: { ...algorithms, serverHostKey: hostKeyOrder(pins) },
    hostVerifier: (shown: Buffer): boolean => {
      if (pins.some(({ blob }) => blob.equals(shown))) return true;
      mismatch = failureOf(
        "ssh-host-key-mismatch",
        `${options.address} showed an unknown host key`,
      );
      options.onHostKeyMismatch(lineOf(shown));
      return false;
    },
    readyTimeout: options.connectTimeoutMs ?? 10_000,
    keepaliveInterval: options.keepaliveMs ?? 15_000,
    keepaliveCountMax: 4,
  });
  try {
    await unlessAborted(ready, [ended.signal, options.signal]);
  } catch (error) {
    client.destroy();
    throw error;
  }
  // Nagle and delayed acknowledgements together stall window updates: measured, 50 instead of 560 MB/s.
  client.setNoDelay(true);
  return {
    lost: ended.signal,
    exec: (command, signal) => exec(client, command, [ended.signal, signal]),
    end: () => {
      client.end();
      client.destroy();
    },
  };
}

function authMethod(username: string, login: Login): ssh2.AnyAuthMethod {
  if ("agent" in login) return { type: "agent", username, agent: login.agent };
  return "password" in login
    ? { type: "password", username, password: login.password.reveal() }
    : { type: "publickey", username, key: login.privateKey.reveal() };
}

function exec(
  client: Client,
  command: string,
  signals: readonly AbortSignal[],
): Promise<ClientChannel> {
  const opened = new Promise<ClientChannel>((resolve, reject) => {
    client.exec(command, (error, channel) => {
      if (!error) return resolve(channel);
      reject(failureOf("ssh-connection-lost", `no channel: ${error.message}`, { cause: error }));
    });
  });
  // A channel that opens after nobody waits for it is closed again.
  const late = () => void opened.then((channel) => channel.close()).catch(() => {});
  return unlessAborted(opened, signals).catch((error: unknown) => {
    late();
    throw error;
  });
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

/** chacha20-poly1305 without strict key exchange lets a man in the middle drop messages (CVE-2023-48795). */
function isTruncatable(client: Client, negotiated: ssh2.NegotiatedAlgorithms): boolean {
  const uses = [negotiated.cs.cipher, negotiated.sc.cipher] as readonly string[];
  // ssh2 offers strict key exchange always and tells nobody whether the server took it.
  const protocol = (client as unknown as Record<string, Record<string, unknown> | undefined>)[
    "_protocol"
  ];
  return uses.some((cipher) => cipher.startsWith("chacha20")) && protocol?.["_strictMode"] !== true;
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
  return failureOf(codeOfError(error), `${address}: ${error.message}`, { cause: error });
}
