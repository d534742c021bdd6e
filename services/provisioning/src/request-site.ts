/** Takes a request for a site: server, domain, fact, job, in this order, so that whatever is cut off can be found. */
import type { ProvisionSiteInput } from "@chom/proto/chom/provisioning/v1/events";
import { classify, Failure, notFound, rejected } from "@chom/shared/failure/failure";
import type { AnyJob } from "@chom/shared/job/job";
import type { App } from "@chom/shared/service/app";
import { domainClaims } from "./domain-claims.ts";
import { serverFacts } from "./server-facts.ts";
import { site } from "./site.ts";

export type SiteRequest = {
  readonly job: AnyJob;
  readonly tenant: string;
  readonly actor: string;
  readonly requestId: string;
  readonly reason: string;
  readonly input: ProvisionSiteInput;
};

/** Failures `server-not-found`, `server-not-ready`. */
async function checkServerReady(app: App, tenant: string, serverId: string): Promise<void> {
  const { state } = await app.load(serverFacts, tenant, serverId);
  if (state.status === "absent") throw notFound("server", serverId);
  if (state.status !== "active") {
    const why = state.status === "registered" ? "no login has worked yet" : "its host key changed";
    throw rejected("server-not-ready", `server "${serverId}" cannot be worked on: ${why}`);
  }
}

/** Whether a dispatch that threw can have stored anything: only a clear refusal cannot. */
const isRefusal = (error: unknown): boolean =>
  ["invalid", "not-found", "rejected", "permanent"].includes(classify(error).kind) ||
  (error instanceof Failure && error.code === "already-exists");

/** Answers job and position; the same request again is the same job. Gives the domain back when the job is refused. */
export async function requestSite(app: App, request: SiteRequest): Promise<{ position: number }> {
  const { job, tenant, actor, requestId, reason, input } = request;
  const cause = { tenant, actor };
  const dispatch = () =>
    app.dispatch({ ...cause, job, jobId: requestId, input, options: reason ? { reason } : {} });
  const { state } = await app.load(site, tenant, input.siteId);
  // Asked before: the job decides whether it is the same, and nothing is claimed for another question.
  if (state.status !== "absent") return dispatch();

  await checkServerReady(app, tenant, input.serverId);
  const claims = domainClaims(app);
  const claim = { domain: input.domain, siteId: input.siteId, ownerTenant: tenant };
  const why = { actor, causationId: requestId };
  const isNew = await claims.hold(claim, why);
  try {
    const fact = { ...input, jobId: requestId };
    const seeded = { ...cause, eventSeed: `request-${requestId}` };
    await app.handle(site, input.siteId, "request", fact, seeded);
    return await dispatch();
  } catch (error) {
    if (isNew && isRefusal(error)) {
      const given = { siteId: input.siteId, jobId: requestId };
      const seeded = { ...cause, eventSeed: `refused-${requestId}` };
      await app.handle(site, input.siteId, "giveUp", given, seeded);
      await claims.release(claim, why);
    }
    throw error;
  }
}
