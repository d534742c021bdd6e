/** KeysService: makes tenants' keys for the services, re-wraps and renews them, and destroys those of a tenant. */
import {
  type EraseTenantRequest,
  type EraseTenantResponse,
  type GetKeyStatusResponse,
  type KeysServiceServer,
  KeysServiceService,
  type MakeTenantKeyRequest,
  type PreviewErasureRequest,
  type PreviewErasureResponse,
  type RewrapKeysRequest,
  type RewrapKeysResponse,
  type RotateTenantKeyRequest,
  type RotateTenantKeyResponse,
} from "@chom/proto/chom/credentials/v1/keys";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf, notFound, rejected, security } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import { entryText } from "@chom/shared/secrets/key-entry";
import type { KeyIssuer } from "@chom/shared/secrets/key-issuer";
import type { App } from "@chom/shared/service/app";
import { countTenants, keyRows, keysByRoot, tenantsToRewrap } from "./key-rows.ts";
import { tenantKeysAggregate } from "./tenant-keys.ts";
import { useOf } from "./tenant-use.ts";

const platform = "platform";

/** Keys of all tenants are the platform's business; a tenant's owner has no say in them. */
function ofPlatform({ tenant }: Caller): void {
  if (tenant !== platform) throw security("not-permitted", "only the platform looks after keys");
}

const issuerOf = ({ issuer }: App): KeyIssuer => {
  if (!issuer) throw failureOf("invalid-config", "this process makes no keys");
  return issuer;
};

async function status(app: App, caller: Caller): Promise<GetKeyStatusResponse> {
  ofPlatform(caller);
  const [newestRoot, roots, tenants] = await Promise.all([
    issuerOf(app).newestRoot(),
    keysByRoot(app.db),
    countTenants(app.db),
  ]);
  return {
    newestRoot,
    roots: roots.map(({ root, keys }) => ({ root, keys: BigInt(keys) })),
    tenants: BigInt(tenants.alive),
    erasedTenants: BigInt(tenants.erased),
  };
}

async function rewrap(
  app: App,
  request: RewrapKeysRequest,
  caller: Caller,
): Promise<RewrapKeysResponse> {
  ofPlatform(caller);
  const fields = fieldsOf(request);
  const limit = fields.pageSize();
  fields.done();
  const issuer = issuerOf(app);
  const newestRoot = await issuer.newestRoot();
  let rewrapped = 0;
  for (const tenant of await tenantsToRewrap(app.db, newestRoot, limit)) {
    // The caller asks again for the rest.
    if (caller.signal.aborted) break;
    rewrapped += await issuer.rewrap(tenant, newestRoot);
  }
  const roots = await keysByRoot(app.db);
  const older = roots.filter(({ root }) => root !== newestRoot);
  const remaining = older.reduce((sum, { keys }) => sum + keys, 0);
  return { newestRoot, rewrapped: BigInt(rewrapped), remaining: BigInt(remaining) };
}

async function rotate(
  app: App,
  request: RotateTenantKeyRequest,
  caller: Caller,
): Promise<RotateTenantKeyResponse> {
  ofPlatform(caller);
  const fields = fieldsOf(request);
  const tenant = fields.id("tenant");
  const fromVersion = fields.int("fromVersion", { min: 0, max: 1_000_000, default: 0 });
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  // A mistyped name must not become a tenant.
  if (!(await keyRows(app.db, app.now).find(tenant))) throw notFound("tenant", tenant);
  const version = await issuerOf(app).rotate(tenant, fromVersion);
  const seed = hashId("rotate-tenant-key", tenant, version);
  const cause = { tenant, actor: caller.actor, eventSeed: seed };
  await app.handle(tenantKeysAggregate, tenant, "rotated", { version, reason }, cause);
  return { version };
}

async function preview(
  app: App,
  request: PreviewErasureRequest,
  caller: Caller,
): Promise<PreviewErasureResponse> {
  ofPlatform(caller);
  const fields = fieldsOf(request);
  const tenant = fields.id("tenant");
  fields.done();
  const entry = await keyRows(app.db, app.now).find(tenant);
  if (!entry) throw notFound("tenant", tenant);
  const erased = entry.state === "erased";
  const keyVersions = entry.state === "alive" ? entry.keys.length : 0;
  return { erased, keyVersions, ...(await useOf(app.log, tenant)) };
}

const told = (count: bigint, what: string): string[] => (count > 0n ? [`${count} ${what}`] : []);

async function erase(
  app: App,
  request: EraseTenantRequest,
  caller: Caller,
): Promise<EraseTenantResponse> {
  const found = await preview(app, { tenant: request.tenant }, caller);
  const fields = fieldsOf(request);
  const tenant = fields.id("tenant");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { sites, jobs, backups } = found;
  const left = [
    ...told(sites?.count ?? 0n, "sites"),
    ...told(jobs?.count ?? 0n, "open jobs"),
    ...told(backups?.count ?? 0n, "backups"),
  ];
  if (left.length > 0 && !request.althoughInUse && !found.erased) {
    const why = `tenant ${tenant} still has ${left.join(", ")}`;
    throw rejected("tenant-in-use", `${why}: no job can take them away once it is erased`);
  }
  const erasedAt = app.now();
  const audited = { id: app.newId(), at: erasedAt.toISOString(), actor: caller.actor, reason };
  await app.audit.write(platform, {
    ...{ ...audited, service: app.name, action: "tenant.erase", outcome: "decided", code: "" },
    ...{ requestId: "", resources: { tenant } },
  });
  const destroyedKeys = await issuerOf(app).erase(tenant, erasedAt);
  const cause = { tenant, actor: caller.actor, eventSeed: hashId("erase-tenant", tenant) };
  const input = { destroyedKeys, reason };
  const { position } = await app.handle(tenantKeysAggregate, tenant, "erased", input, cause);
  app.logger.warn({ tenant, destroyedKeys, actor: caller.actor }, "a tenant was erased");
  return { destroyedKeys, erasedAt, position: BigInt(position) };
}

/** The RPCs. */
export const keysRpc = (app: App): RpcService => {
  const implementation: KeysServiceServer = {
    makeTenantKey: unary(async ({ tenant }: MakeTenantKeyRequest) => ({
      entry: entryText(await issuerOf(app).make(tenant)),
    })),
    getKeyStatus: unary((_, caller) => status(app, caller)),
    rewrapKeys: unary((request, caller) => rewrap(app, request, caller)),
    rotateTenantKey: unary((request, caller) => rotate(app, request, caller)),
    previewErasure: unary((request, caller) => preview(app, request, caller)),
    eraseTenant: unary((request, caller) => erase(app, request, caller)),
  };
  return { definition: KeysServiceService, implementation };
};
