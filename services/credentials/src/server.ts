/** A server and the keys that open it: registered, activated by a first login, its key replaced again and again. */
import type { RetireKeyInput, RotateKeyInput } from "@chom/proto/chom/credentials/v1/events";
import {
  HostKeyMismatched,
  KeyCreated,
  KeyPromoted,
  KeyRetired,
  KeyRotationFailed,
  KeyStaged,
  ServerActivated,
  ServerRegistered,
} from "@chom/proto/chom/credentials/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { rejected } from "@chom/shared/failure/failure";
import type { Abandoned, Done, FailureReport } from "@chom/shared/job/job";

/** Every fact about a server, by name. */
export const serverEvents = eventTypes({
  ServerRegistered,
  KeyCreated,
  ServerActivated,
  HostKeyMismatched,
  KeyStaged,
  KeyPromoted,
  KeyRetired,
  KeyRotationFailed,
});
const happened = serverEvents;

/** `dropped`: staged once, but never promoted. */
export type KeyStatus = "staged" | "current" | "overlap" | "retired" | "dropped";
export type Key = {
  readonly keyId: string;
  readonly publicKey: string;
  readonly fingerprint: string;
  readonly status: KeyStatus;
  /** The rotation that made it; empty for the first key. */
  readonly jobId: string;
  readonly retireAt: Date | undefined;
};

export type Server = {
  readonly status: "absent" | "pending" | "active" | "quarantined";
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly hostKeys: readonly string[];
  readonly keys: readonly Key[];
};

const initial = (): Server => ({
  status: "absent",
  name: "",
  address: "",
  port: 22,
  user: "",
  hostKeys: [],
  keys: [],
});

const withStatus = (server: Server, keyId: string, status: KeyStatus, retireAt?: Date): Server => ({
  ...server,
  keys: server.keys.map((key) =>
    key.keyId === keyId ? { ...key, status, retireAt: retireAt ?? key.retireAt } : key,
  ),
});

const withKey = (server: Server, key: Omit<Key, "status" | "retireAt">): Server => ({
  ...server,
  keys: [
    ...server.keys.filter(({ keyId }) => keyId !== key.keyId),
    { ...key, status: "staged", retireAt: undefined },
  ],
});

const evolve: Evolve<Server, typeof happened> = {
  ServerRegistered: (server, { name, address, port, user, hostKeys }) => ({
    ...server,
    status: "pending",
    ...{ name, address, port, user, hostKeys },
  }),
  KeyCreated: (server, { keyId, publicKey, fingerprint }) =>
    withKey(server, { keyId, publicKey, fingerprint, jobId: "" }),
  ServerActivated: (server, { keyId }) => ({
    ...withStatus(server, keyId, "current"),
    status: "active",
  }),
  HostKeyMismatched: (server) => ({ ...server, status: "quarantined" }),
  KeyStaged: (server, { keyId, publicKey, fingerprint, jobId }) =>
    withKey(server, { keyId, publicKey, fingerprint, jobId }),
  KeyPromoted: (server, { keyId, previousKeyId, retireAt }) =>
    withStatus(withStatus(server, previousKeyId, "overlap", retireAt), keyId, "current"),
  KeyRetired: (server, { keyId }) => withStatus(server, keyId, "retired"),
  KeyRotationFailed: (server, { keyId }) =>
    keyOf(server, keyId)?.status === "staged" ? withStatus(server, keyId, "dropped") : server,
};

/** A key of the server by its id. */
export const keyOf = (server: Server, keyId: string): Key | undefined =>
  server.keys.find((key) => key.keyId === keyId);

/** The key that opens the server now: the promoted one, or the first one while it is not proven yet. */
export const currentKey = (server: Server): Key | undefined =>
  server.keys.find(({ status }) => status === "current");

/** The key whose rotation has begun and whose predecessor is not retired yet. */
export const unfinishedKey = (server: Server): Key | undefined =>
  server.status === "pending"
    ? undefined
    : server.keys.find(({ status }) => status === "staged" || status === "overlap");

export type NewKey = {
  readonly keyId: string;
  readonly publicKey: string;
  readonly fingerprint: string;
};

type Register = {
  readonly server: ServerRegistered;
  readonly key: NewKey;
  readonly at: Date;
};

/** What a rotation proved: the key's private half is kept, its public half opens the server. */
type Rotated = NewKey & { readonly previousKeyId: string };
/** What a retirement proved: the server refused the key. */
type Retired = { readonly fingerprint: string };

const failed = (
  server: Server,
  keyId: string,
  report: { jobId: string; code: string; message: string; serverId: string },
) =>
  server.status === "absent"
    ? []
    : happened.KeyRotationFailed({ ...report, keyId, alert: "operator" });

const stagedBy = (server: Server, jobId: string): string =>
  server.keys.find((key) => key.jobId === jobId && key.status === "staged")?.keyId ?? "";

const commands = {
  register: (server: Server, { server: data, key, at }: Register) =>
    server.status !== "absent"
      ? []
      : [
          happened.ServerRegistered(data),
          happened.KeyCreated({ serverId: data.serverId, ...key, createdAt: at }),
        ],
  activate: (server: Server, { serverId, keyId }: { serverId: string; keyId: string }) => {
    if (server.status === "quarantined") {
      throw rejected("server-quarantined", "the server showed an unknown host key");
    }
    return server.status === "pending" ? happened.ServerActivated({ serverId, keyId }) : [];
  },
  distrust: (server: Server, input: HostKeyMismatched) =>
    server.status === "absent" || server.status === "quarantined"
      ? []
      : happened.HostKeyMismatched(input),
  /** Takes a key into the rotation of a job; another unfinished rotation forbids it. */
  stage(server: Server, input: KeyStaged) {
    const other = unfinishedKey(server);
    if (other && other.keyId !== input.keyId) {
      throw rejected("rotation-unfinished", "the previous rotation has not retired its key yet");
    }
    return keyOf(server, input.keyId) ? [] : happened.KeyStaged(input);
  },
  promote: (server: Server, { input, result, jobId, at }: Done<RotateKeyInput, Rotated>) =>
    keyOf(server, result.keyId)?.status !== "staged"
      ? []
      : happened.KeyPromoted({
          serverId: input.serverId,
          keyId: result.keyId,
          previousKeyId: result.previousKeyId,
          fingerprint: result.fingerprint,
          retireAt: new Date(at.getTime() + Math.max(0, Number(input.overlapMs))),
          jobId,
        }),
  failRotation: (server: Server, report: FailureReport<RotateKeyInput>) =>
    failed(server, stagedBy(server, report.jobId), {
      serverId: report.input.serverId,
      jobId: report.jobId,
      code: report.code,
      message: report.message,
    }),
  abandonRotation: (server: Server, { input, jobId, reason }: Abandoned<RotateKeyInput>) =>
    failed(server, stagedBy(server, jobId), {
      serverId: input.serverId,
      jobId,
      code: "cancelled",
      message: reason,
    }),
  retire: (server: Server, { input, result, jobId }: Done<RetireKeyInput, Retired>) =>
    keyOf(server, input.keyId)?.status !== "overlap"
      ? []
      : happened.KeyRetired({
          serverId: input.serverId,
          keyId: input.keyId,
          fingerprint: result.fingerprint,
          jobId,
        }),
  failRetirement: (server: Server, report: FailureReport<RetireKeyInput>) =>
    failed(server, report.input.keyId, {
      serverId: report.input.serverId,
      jobId: report.jobId,
      code: report.code,
      message: report.message,
    }),
  abandonRetirement: (server: Server, { input, jobId, reason }: Abandoned<RetireKeyInput>) =>
    failed(server, input.keyId, {
      serverId: input.serverId,
      jobId,
      code: "cancelled",
      message: reason,
    }),
};

export const server = aggregate({ name: "server", events: happened, initial, evolve, commands });
