import { ServerActivated, ServerRegistered } from "@chom/proto/chom/credentials/v1/events";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { type AnyAggregate, decide, fold } from "@chom/shared/aggregate/aggregate";
import { conflict, transient } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import { expect, test } from "vitest";
import { domain, domainId } from "./domain.ts";
import { requestSite, type SiteRequest } from "./request-site.ts";
import { site } from "./site.ts";

type Stored = { name: string; data: unknown };

/** An app whose event log is a map; dispatch is given. */
function appWith(dispatch: App["dispatch"]) {
  const streams = new Map<string, Stored[]>();
  const key = (of: AnyAggregate, tenant: string, id: string) => `${tenant} ${of.name} ${id}`;
  const stateOf = (of: AnyAggregate, tenant: string, id: string) => {
    const meta = { eventId: "", time: new Date(0), tenant, id, position: 1, actor: "" };
    const events = (streams.get(key(of, tenant, id)) ?? []).map((event) => ({
      ...event,
      meta: { ...meta, causationId: "", correlationId: "" },
    }));
    return fold(of, events);
  };
  const app = {
    newId: () => "new-id",
    load: async (of: AnyAggregate, tenant: string, id: string) => ({
      state: stateOf(of, tenant, id),
      sequence: 0,
    }),
    async handle(...call: [AnyAggregate, string, string, unknown, { tenant: string }]) {
      const [of, id, command, input, cause] = call;
      const decided = decide(of, stateOf(of, cause.tenant, id), command, input as never);
      const at = key(of, cause.tenant, id);
      streams.set(at, [...(streams.get(at) ?? []), ...decided]);
      return { position: 1, decided: decided.length };
    },
    dispatch,
  };
  const namesIn = (of: AnyAggregate, tenant: string, id: string) =>
    (streams.get(key(of, tenant, id)) ?? []).map(({ name }) => name);
  const put = (tenant: string, id: string, ...events: Stored[]) =>
    streams.set(`${tenant} server ${id}`, events);
  // Only what a request uses is there.
  return { app: app as unknown as App, namesIn, put };
}

const input = {
  siteId: "site-1",
  domain: "shop.example.com",
  serverId: "server-1",
  kind: SiteKind.PHP,
  phpVersion: "",
  database: false,
  sslEnabled: false,
  adminEmail: "",
};
const request: SiteRequest = {
  job: { name: "site.provision" } as never,
  tenant: "tenant-1",
  actor: "someone",
  requestId: "request-1",
  reason: "",
  input,
};
const registered = {
  name: "ServerRegistered",
  data: ServerRegistered.fromPartial({ serverId: "server-1" }),
};
const activated = {
  name: "ServerActivated",
  data: ServerActivated.fromPartial({ serverId: "server-1" }),
};
const queued: App["dispatch"] = async ({ jobId }) => ({ jobId, position: 7, created: true });

test("a request claims the domain, records the site and queues the job; the same again is the same", async () => {
  const { app, namesIn, put } = appWith(queued);
  put("tenant-1", "server-1", registered, activated);
  expect(await requestSite(app, request)).toMatchObject({ position: 7 });
  expect(await requestSite(app, request)).toMatchObject({ position: 7 });
  expect(namesIn(domain, "platform", domainId(input.domain))).toEqual(["DomainClaimed"]);
  expect(namesIn(site, "tenant-1", "site-1")).toEqual(["SiteRequested"]);
});

test("a server that is unknown, of another tenant or not active is refused before anything is claimed", async () => {
  const { app, namesIn, put } = appWith(queued);
  put("tenant-2", "server-1", registered, activated);
  await expect(requestSite(app, request)).rejects.toMatchObject({ kind: "not-found" });
  put("tenant-1", "server-1", registered);
  await expect(requestSite(app, request)).rejects.toMatchObject({ code: "server-not-ready" });
  put("tenant-1", "server-1", registered, activated, { name: "HostKeyMismatched", data: {} });
  await expect(requestSite(app, request)).rejects.toMatchObject({ code: "server-not-ready" });
  expect(namesIn(domain, "platform", domainId(input.domain))).toEqual([]);
});

test("a second site of the same domain is refused and leaves no trace of itself", async () => {
  const { app, namesIn, put } = appWith(queued);
  for (const tenant of ["tenant-1", "tenant-2"]) put(tenant, "server-1", registered, activated);
  await requestSite(app, request);
  const other = { ...request, tenant: "tenant-2", requestId: "request-2" };
  const asked = { ...other, input: { ...input, siteId: "site-2" } };
  await expect(requestSite(app, asked)).rejects.toMatchObject({ code: "name-taken" });
  expect(namesIn(site, "tenant-2", "site-2")).toEqual([]);
});

test("a job that is refused gives the domain back", async () => {
  const { app, namesIn, put } = appWith(async () => {
    throw conflict("already-exists", "another job has this id");
  });
  put("tenant-1", "server-1", registered, activated);
  await expect(requestSite(app, request)).rejects.toMatchObject({ code: "already-exists" });
  const claims = namesIn(domain, "platform", domainId(input.domain));
  expect(claims).toEqual(["DomainClaimed", "DomainReleased"]);
  expect(namesIn(site, "tenant-1", "site-1")).toEqual(["SiteRequested", "SiteProvisioningFailed"]);
});

test("a job that may have been queued keeps its domain, so that asking again goes on", async () => {
  let isUp = false;
  const { app, namesIn, put } = appWith(async (command) => {
    if (isUp) return queued(command);
    throw transient("log-unavailable", "no answer");
  });
  put("tenant-1", "server-1", registered, activated);
  await expect(requestSite(app, request)).rejects.toMatchObject({ code: "log-unavailable" });
  isUp = true;
  expect(await requestSite(app, request)).toMatchObject({ position: 7 });
  expect(namesIn(domain, "platform", domainId(input.domain))).toEqual(["DomainClaimed"]);
});
