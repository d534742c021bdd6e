/** Clients of every service for one caller. */
import { BackupServiceService } from "@chom/proto/chom/backup/v1/backup";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { type Event, EventsServiceService } from "@chom/proto/chom/events/v1/events";
import { DispatchServiceService } from "@chom/proto/chom/jobs/v1/dispatch";
import { JobsServiceService, type WatchJobResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { ProvisioningServiceService } from "@chom/proto/chom/provisioning/v1/provisioning";
import { FlowsServiceService } from "@chom/proto/chom/scheduler/v1/flows";
import { SchedulesServiceService } from "@chom/proto/chom/scheduler/v1/schedules";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import type { ServiceName } from "./service-process.ts";

/** All of a tenant's events from the first on, and the ones to come. */
const everything = {
  ...{ afterPosition: 0n, types: [], aggregate: "", aggregateId: "" },
  ...{ fromNow: false, stopAtEnd: false },
};

/** Clients that act with one token; `close` ends their connections. Calls fail with the service's Failure. */
export function createClients(
  addresses: Readonly<Record<ServiceName, string>>,
  caPem: string,
  token: string,
) {
  const secret = new Secret(token);
  const options = (service: ServiceName) => ({
    address: addresses[service],
    tls: { ca: Buffer.from(caPem) },
    token: () => secret,
  });
  const backup = connectRpc(BackupServiceService, options("backup"));
  const credentials = connectRpc(CredentialsServiceService, options("credentials"));
  const provisioning = connectRpc(ProvisioningServiceService, options("provisioning"));
  const ssl = connectRpc(SslServiceService, options("ssl"));
  const jobs = connectRpc(JobsServiceService, options("scheduler"));
  const dispatch = connectRpc(DispatchServiceService, options("scheduler"));
  const schedules = connectRpc(SchedulesServiceService, options("scheduler"));
  const flows = connectRpc(FlowsServiceService, options("scheduler"));
  const events = connectRpc(EventsServiceService, options("scheduler"));
  return {
    backup: backup.calls,
    credentials: credentials.calls,
    provisioning: provisioning.calls,
    ssl: ssl.calls,
    jobs: jobs.calls,
    dispatch: dispatch.calls,
    schedules: schedules.calls,
    flows: flows.calls,
    /** Follows the tenant's events after a position; `stop` ends the stream. */
    follow: (afterPosition = 0n): { events: AsyncIterable<Event>; stop: () => void } => {
      const leaving = new AbortController();
      const stream = events.calls.subscribe(
        { ...everything, afterPosition },
        { signal: leaving.signal },
      );
      return { events: eventsOf(stream), stop: () => leaving.abort() };
    },
    /** The tenant's events so far. */
    past: (): AsyncIterable<Event> =>
      eventsOf(events.calls.subscribe({ ...everything, stopAtEnd: true })),
    /** A job's journal from its beginning, live until the job ends. */
    watch: (jobId: string): AsyncIterable<WatchJobResponse> =>
      jobs.calls.watchJob({ jobId, afterSequence: 0n }),
    close: () => {
      for (const client of [
        backup,
        credentials,
        provisioning,
        ssl,
        jobs,
        dispatch,
        schedules,
        flows,
        events,
      ]) {
        client.close();
      }
    },
  };
}

export type Clients = ReturnType<typeof createClients>;

async function* eventsOf(
  stream: AsyncIterable<{ event?: Event | undefined }>,
): AsyncIterable<Event> {
  for await (const { event } of stream) if (event) yield event;
}
