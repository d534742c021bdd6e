/** Roles: named sets of permissions. Each role has what the one before it has, and more. */
import { operator } from "../failure/failure.ts";

/** Looks, changes nothing, and sees no secret. */
const viewer = [
  "alert.read",
  "backup.read",
  "caller.read",
  "certificate.read",
  "database.read",
  "event.read",
  "job.read",
  "queue.read",
  "schedule.read",
  "server.read",
  "site.read",
] as const;

/** Runs what is there: starts, repeats and ends work that takes nothing away. */
const operating = [
  "backup.create",
  "certificate.issue",
  "database.backup",
  "job.cancel",
  "job.dispatch",
  "job.retry",
  "key.rotate",
  "queue.monitor",
  "queue.pause",
  "schedule.write",
  "site.provision",
] as const;

/** Also what overwrites, removes or reveals, and who may call. */
const administering = [
  "archive.read",
  "audit.read",
  "backup.clean",
  "backup.restore",
  "database.restore",
  "job.forget",
  "operations.read",
  "queue.clear",
  "server.register",
  "site.deprovision",
  "site.reveal",
  "token.read",
  "token.write",
] as const;

/** Also what nobody can take back. */
const owning = [
  "archive.repair",
  "audit.verify",
  "key.read",
  "key.rewrap",
  "operations.repair",
  "tenant.erase",
  "tenant.read",
  "tenant.rotate",
  "tenant.write",
] as const;

/** Permissions by role. */
export const roles = {
  viewer,
  operator: [...viewer, ...operating],
  admin: [...viewer, ...operating, ...administering],
  owner: [...viewer, ...operating, ...administering, ...owning],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type Role = keyof typeof roles;

export const isRole = (name: unknown): name is Role =>
  typeof name === "string" && Object.hasOwn(roles, name);

/** Declared by methods, but nobody's to have: no credential, or a service's own certificate. */
const outside = new Set(["public", "service"]);

/** True when one of the permissions grants the wanted one: itself, or `*`. Nothing grants `service`. */
export const grants = (permissions: readonly string[], wanted: string): boolean =>
  !outside.has(wanted) && (permissions.includes("*") || permissions.includes(wanted));

/** Methods whose permission no role has, as `path permission`. */
export const withoutRole = (permissions: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(permissions)
    .filter(([, wanted]) => !outside.has(wanted) && !grants(roles.owner, wanted))
    .map(([path, wanted]) => `${path} (${wanted})`);

/** What each field of a request that names a thing is: by method path, then field; "" where nothing is declared. */
export type ResourceTable = Readonly<Record<string, Readonly<Record<string, string>>>>;

/**
 * Refuses a contract with holes, as Failure `operator` "invalid-config" that names each: a method of these without
 * a permission or whose permission no role has, and an id in its request that does not say what it names.
 */
export function checkContract(
  paths: readonly string[],
  permissions: Readonly<Record<string, string>>,
  resources: ResourceTable,
): void {
  const unnamed = paths.flatMap((path) =>
    Object.entries(resources[path] ?? {})
      .filter(([, kind]) => kind === "")
      .map(([field]) => `${path}: the field ${field} declares no resource`),
  );
  const closed = paths
    .filter((path) => !permissions[path])
    .map((path) => `${path} declares no permission`);
  const mine = Object.fromEntries(paths.map((path) => [path, permissions[path] ?? "public"]));
  const homeless = withoutRole(mine).map((method) => `${method} is in no role`);
  const problems = [...closed, ...unnamed, ...homeless];
  if (problems.length > 0) throw operator("invalid-config", problems.join("\n"));
}
