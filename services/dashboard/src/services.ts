/** The services as one operator may call them: each call carries that operator's own token and nothing else. */
import { createHash } from "node:crypto";
import { BackupServiceService } from "@chom/proto/chom/backup/v1/backup";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { RotationsServiceService } from "@chom/proto/chom/credentials/v1/rotations";
import {
  type GetCallerResponse,
  TokensServiceService,
} from "@chom/proto/chom/credentials/v1/tokens";
import { EventsServiceService } from "@chom/proto/chom/events/v1/events";
import { JobsServiceService } from "@chom/proto/chom/jobs/v1/jobs";
import { OverviewServiceService } from "@chom/proto/chom/jobs/v1/overview";
import { QueuesServiceService } from "@chom/proto/chom/jobs/v1/queues";
import { ProvisioningServiceService } from "@chom/proto/chom/provisioning/v1/provisioning";
import { AlertsServiceService } from "@chom/proto/chom/scheduler/v1/alerts";
import { FlowsServiceService } from "@chom/proto/chom/scheduler/v1/flows";
import { SchedulesServiceService } from "@chom/proto/chom/scheduler/v1/schedules";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { type CallSettings, connectRpc } from "@chom/shared/rpc/client";
import type { Secret } from "@chom/shared/secrets/secret";
import type { DashboardSettings } from "./web/settings.ts";

type AnyCalls = Readonly<Record<string, (request: never, settings?: CallSettings) => unknown>>;

/** The same calls, each with this token. */
function withToken<C extends AnyCalls>(calls: C, token: Secret): C {
  const bound = Object.entries(calls).map(([name, call]) => [
    name,
    (request: never, settings: CallSettings = {}) => call(request, { ...settings, token }),
  ]);
  return Object.fromEntries(bound) as C;
}

/** Connects lazily to every service: one connection each, whoever asks. */
export function connectServices(settings: DashboardSettings) {
  const { servicesCa } = settings;
  const tls = servicesCa === undefined ? {} : { tls: { ca: servicesCa } };
  const at = (name: "credentials" | "provisioning" | "ssl" | "backup" | "scheduler") => ({
    ...{ address: settings[name], ...tls },
  });
  const open = {
    backup: connectRpc(BackupServiceService, at("backup")),
    servers: connectRpc(CredentialsServiceService, at("credentials")),
    rotations: connectRpc(RotationsServiceService, at("credentials")),
    tokens: connectRpc(TokensServiceService, at("credentials")),
    sites: connectRpc(ProvisioningServiceService, at("provisioning")),
    ssl: connectRpc(SslServiceService, at("ssl")),
    jobs: connectRpc(JobsServiceService, at("scheduler")),
    overview: connectRpc(OverviewServiceService, at("scheduler")),
    queues: connectRpc(QueuesServiceService, at("scheduler")),
    events: connectRpc(EventsServiceService, at("scheduler")),
    alerts: connectRpc(AlertsServiceService, at("scheduler")),
    flows: connectRpc(FlowsServiceService, at("scheduler")),
    schedules: connectRpc(SchedulesServiceService, at("scheduler")),
  };
  const as = (token: Secret) => ({
    backup: withToken(open.backup.calls, token),
    servers: withToken(open.servers.calls, token),
    rotations: withToken(open.rotations.calls, token),
    tokens: withToken(open.tokens.calls, token),
    sites: withToken(open.sites.calls, token),
    ssl: withToken(open.ssl.calls, token),
    jobs: withToken(open.jobs.calls, token),
    overview: withToken(open.overview.calls, token),
    queues: withToken(open.queues.calls, token),
    events: withToken(open.events.calls, token),
    alerts: withToken(open.alerts.calls, token),
    flows: withToken(open.flows.calls, token),
    schedules: withToken(open.schedules.calls, token),
  });
  return {
    as,
    close: () => {
      for (const { close } of Object.values(open)) close();
    },
  };
}

export type Services = ReturnType<ReturnType<typeof connectServices>["as"]>;

/** Names a token without showing it. */
export const fingerprint = (token: Secret): string =>
  createHash("sha256").update(token.reveal()).digest("hex");

const believedMs = 10_000;
const rememberedMax = 2_000;

export type WhoIs = (token: Secret) => Promise<GetCallerResponse>;

/**
 * Who a token is, as the services say it. Believed for 10 s, so that a token that was revoked opens no page after
 * that; what it may do is checked by each service at each call anyway. Failure "unauthenticated" for a bad one.
 */
export function whoIs(as: (token: Secret) => Services, now: () => number): WhoIs {
  const known = new Map<string, { readonly until: number; readonly caller: GetCallerResponse }>();
  return async (token) => {
    const key = fingerprint(token);
    const found = known.get(key);
    if (found && found.until > now()) return found.caller;
    known.delete(key);
    const caller = await as(token).tokens.getCaller({}, { deadlineMs: 5_000 });
    if (known.size >= rememberedMax) known.clear();
    known.set(key, { until: now() + believedMs, caller });
    return caller;
  };
}
