/** CredentialsService: registers servers, installs their first key, rotates it, and lists them. */
import type { Networks } from "@chom/shared/input/networks";
import {
  CredentialsServiceService,
  type GetServerRequest,
  type InstallKeyRequest,
  type ListServersRequest,
  type RegisterServerRequest,
  type RotateKeyRequest,
} from "@chom/proto/chom/credentials/v1/credentials";
import { hashId } from "@chom/shared/aggregate/id";
import { conflict, notFound, rejected } from "@chom/shared/failure/failure";
import type { AnyJob } from "@chom/shared/job/job";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { SessionPorts } from "@chom/shared/script/sessions";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { installKey } from "./install-key.ts";
import type { KeyLines } from "./key-lines.ts";
import type { KeyStore } from "./key-store.ts";
import { readRegistration } from "./registration.ts";
import { currentKey, keyOf, type Server, server, unfinishedKey } from "./server.ts";
import { findServer, listServers } from "./server-rows.ts";

export type CredentialsParts = {
  readonly store: KeyStore;
  readonly ports: SessionPorts;
  readonly rotate: AnyJob;
  readonly networks: Networks;
  readonly lines: KeyLines;
};

const firstKeyId = (serverId: string): string => hashId("key", serverId, "first");
const dayS = 86_400;

const isSame = (a: Server, b: Pick<Server, "name" | "address" | "port" | "user" | "hostKeys">) =>
  JSON.stringify([a.name, a.address, a.port, a.user, a.hostKeys]) ===
  JSON.stringify([b.name, b.address, b.port, b.user, b.hostKeys]);

function register(app: App, { store, networks }: CredentialsParts) {
  return unary(async (request: RegisterServerRequest, { tenant, actor }: Caller) => {
    const { requestId, ...facts } = readRegistration(request, networks);
    const serverId = hashId("server", tenant, requestId);
    const known = await app.load(server, tenant, serverId);
    if (known.state.status !== "absent" && !isSame(known.state, facts)) {
      throw conflict("already-exists", "this request_id registered another server");
    }
    const key = await store.create({ tenant, serverId, keyId: firstKeyId(serverId) });
    const input = { server: { serverId, ...facts }, key, at: app.now() };
    const { position } = await app.handle(server, serverId, "register", input, {
      tenant,
      actor,
      eventSeed: hashId("register", tenant, requestId),
    });
    return { serverId, authorizedKey: key.publicKey, position: BigInt(position) };
  });
}

function install(app: App, { ports, lines }: CredentialsParts) {
  return unary(async (request: InstallKeyRequest, { tenant, actor, signal }: Caller) => {
    const fields = fieldsOf(request);
    const serverId = fields.id("serverId");
    const [password, privateKey] = [request.oneTimePassword, request.oneTimePrivateKey];
    if (password.length > 1_024)
      fields.refuse("oneTimePassword", "must have at most 1024 characters");
    if (privateKey.length > 16_384) {
      fields.refuse("oneTimePrivateKey", "must have at most 16384 characters");
    }
    if (password && privateKey)
      fields.refuse("oneTimePassword", "must not come with a private key");
    fields.done();
    const { state } = await app.load(server, tenant, serverId);
    const key = currentKey(state) ?? keyOf(state, firstKeyId(serverId));
    if (state.status === "absent" || !key) throw notFound("server", serverId);
    await installKey(ports, app.logger, {
      ...{ tenant, serverId, state, key, lines, signal },
      oneTime: {
        ...(password ? { password: new Secret(password) } : {}),
        ...(privateKey ? { privateKey: new Secret(privateKey) } : {}),
      },
    });
    const { position } = await app.handle(
      server,
      serverId,
      "activate",
      { serverId, keyId: key.keyId },
      { tenant, actor, eventSeed: hashId("activate", serverId, key.keyId) },
    );
    return { position: BigInt(position) };
  });
}

function rotate(app: App, parts: CredentialsParts) {
  return unary(async (request: RotateKeyRequest, { tenant, actor }: Caller) => {
    const fields = fieldsOf(request);
    const jobId = fields.id("requestId");
    const serverId = fields.id("serverId");
    const overlapS = fields.int("overlapSeconds", { min: -1, max: 90 * dayS, default: dayS });
    const reason = fields.optionalText("reason", { max: 200 });
    fields.done();
    const { state } = await app.load(server, tenant, serverId);
    if (state.status === "absent") throw notFound("server", serverId);
    if (state.status !== "active") {
      throw rejected("server-not-ready", `the server is ${state.status}`);
    }
    const isRepeat = state.keys.some((key) => key.jobId === jobId);
    if (!isRepeat && unfinishedKey(state)) {
      throw rejected("rotation-unfinished", "the previous rotation has not retired its key yet");
    }
    const input = { serverId, overlapMs: BigInt(Math.max(0, overlapS)) * 1_000n, reason };
    const options = reason === "" ? {} : { reason };
    const command = { tenant, actor, job: parts.rotate, jobId, input, options };
    const { position } = await app.dispatch(command);
    return { jobId, position: BigInt(position) };
  });
}

function get(app: App) {
  return unary(async (request: GetServerRequest, { tenant }: Caller) => {
    const fields = fieldsOf(request);
    const serverId = fields.id("serverId");
    const position = fields.position();
    fields.done();
    await app.seen("server-list", position);
    return { server: await findServer(app.db, tenant, serverId) };
  });
}

function list(app: App) {
  return unary(async (request: ListServersRequest, { tenant }: Caller) => {
    const fields = fieldsOf(request);
    const pageSize = fields.pageSize();
    const position = fields.position();
    fields.done();
    await app.seen("server-list", position);
    return listServers(app, tenant, { pageSize, pageToken: request.pageToken });
  });
}

/** The RPCs. */
export const credentialsRpc = (app: App, parts: CredentialsParts): RpcService => ({
  definition: CredentialsServiceService,
  implementation: {
    registerServer: register(app, parts),
    installKey: install(app, parts),
    getServer: get(app),
    listServers: list(app),
    rotateKey: rotate(app, parts),
  },
});
