/** Connections of running jobs: one for a job and a server, used by its steps in turn, closed soon after the last. */
import { timed, timing } from "../telemetry/metrics.ts";
import { inSpan } from "../telemetry/tracing.ts";
import type { RunContext } from "./servers.ts";
import { type Connection, connect, type Login, type Target } from "./ssh.ts";
import { SigningAgent } from "./signing-agent.ts";
import type { Deadlines } from "./ssh-wire.ts";

/** Which running job logs in where; what the signer checks. */
export type SessionOwner = Pick<RunContext, "tenant" | "jobId" | "fence" | "serverId" | "keyId">;

/** How to reach a server, and the public keys to offer, best first. */
export type SessionTarget = Target & {
  readonly publicKeys: readonly string[];
  /** Instead of the public keys: a one-time credential of a server that has none of ours yet. */
  readonly oneTime?: Login;
};

export type SessionPorts = {
  openSession(owner: SessionOwner, signal: AbortSignal): Promise<SessionTarget>;
  /** Raw signature of a user-authentication request; Failure `signer-unavailable` or `signer-refused`. */
  sign(owner: SessionOwner, publicKey: string, data: Buffer): Promise<Buffer>;
  /** Told which key a server showed instead of a pinned one. */
  reportHostKey(owner: SessionOwner, hostKey: string): Promise<void>;
};

export type Sessions = {
  /** Calls `use` with a connection of the owner's; calls of one owner take turns. */
  withConnection<T>(
    owner: SessionOwner,
    signal: AbortSignal,
    use: (connection: Connection) => Promise<T>,
  ): Promise<T>;
  close(): Promise<void>;
};

type Session = {
  connection: Promise<Connection> | undefined;
  last: Promise<unknown>;
  users: number;
  timer: NodeJS.Timeout | undefined;
};

export type SessionOptions = SessionPorts & {
  readonly deadlines?: Partial<Deadlines>;
  readonly keepaliveMs?: number;
  /** An unused connection is closed after so long; default 10 s. */
  readonly idleMs?: number;
  readonly onReportFailed: (error: unknown) => void;
};

/** Keeps the connections. The fence is part of what they belong to: a new attempt logs in anew. */
export function sessions(options: SessionOptions): Sessions {
  const open = new Map<string, Session>();
  const keyOf = (o: SessionOwner) =>
    JSON.stringify([o.tenant, o.jobId, o.fence, o.serverId, o.keyId ?? ""]);
  const close = async (key: string, session: Session) => {
    clearTimeout(session.timer);
    if (open.get(key) === session) open.delete(key);
    (await session.connection?.catch(() => undefined))?.end();
  };
  return {
    async withConnection(owner, signal, use) {
      const key = keyOf(owner);
      const session = open.get(key) ?? {
        connection: undefined,
        last: Promise.resolve(),
        users: 0,
        timer: undefined,
      };
      open.set(key, session);
      clearTimeout(session.timer);
      session.users += 1;
      const turn = session.last.then(async () => {
        signal.throwIfAborted();
        return use(await current(session, owner, signal, options));
      });
      session.last = turn.catch(() => {});
      try {
        return await turn;
      } finally {
        session.users -= 1;
        if (session.users === 0) {
          session.timer = setTimeout(() => void close(key, session), options.idleMs ?? 10_000);
          session.timer.unref();
        }
      }
    },
    close: async () => {
      await Promise.all([...open].map(([key, session]) => close(key, session)));
    },
  };
}

async function current(
  session: Session,
  owner: SessionOwner,
  signal: AbortSignal,
  options: SessionOptions,
): Promise<Connection> {
  const had = await session.connection?.catch(() => undefined);
  if (had && !had.lost.aborted) return had;
  session.connection = login(owner, signal, options);
  return session.connection;
}

async function login(
  owner: SessionOwner,
  signal: AbortSignal,
  options: SessionOptions,
): Promise<Connection> {
  const { publicKeys, oneTime, ...target } = await options.openSession(owner, signal);
  const reports: Promise<void>[] = [];
  try {
    const opening = () =>
      connect({
        ...target,
        ...(options.deadlines === undefined ? {} : { deadlines: options.deadlines }),
        ...(options.keepaliveMs === undefined ? {} : { keepaliveMs: options.keepaliveMs }),
        signal,
        login: oneTime ?? {
          agent: new SigningAgent(publicKeys, (key, data) => options.sign(owner, key, data)),
        },
        onHostKeyMismatch: (hostKey) => {
          reports.push(options.reportHostKey(owner, hostKey).catch(options.onReportFailed));
        },
      });
    const facts = { "chom.server.id": owner.serverId };
    return await timing(
      () => inSpan({ name: "ssh connect", kind: "client", facts }, opening),
      (outcome, tookMs) => timed("chom_ssh_connect_seconds", { outcome }, tookMs),
    );
  } finally {
    // The report stops other jobs on that server, so it is out before this job's failure is told.
    await Promise.all(reports);
  }
}
