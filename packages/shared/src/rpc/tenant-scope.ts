/** Whose rows the code that runs now may touch: those of the caller's tenant, or, where nobody called, all. */
import { AsyncLocalStorage } from "node:async_hooks";

/** The platform looks after all tenants; services call with an empty tenant and name it in their request. */
const platform = "platform";

const scope = new AsyncLocalStorage<{ readonly tenant: string | undefined }>();

/**
 * Runs a caller's handler: every query it makes, however deep, is one of this tenant (service/postgres.ts sets it in
 * the query's own transaction, and row-level security does the rest). No handler can forget it.
 */
export const inTenant = <T>(tenant: string, work: () => T | PromiseLike<T>): Promise<T> =>
  scope.run(
    { tenant: tenant === "" || tenant === platform ? undefined : tenant },
    // Awaited in here: drizzle's queries run when they are awaited, not when they are made.
    async () => await work(),
  );

/** The tenant that queries are limited to; undefined in the system's own work, like projections and ticks. */
export const tenantInScope = (): string | undefined => scope.getStore()?.tenant;
