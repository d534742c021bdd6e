/** gRPC clients of every service for one caller, with promises instead of callbacks. */
import { BackupServiceClient, type BackupServiceServer } from "@chom/proto/chom/backup/v1/backup";
import {
  CredentialsServiceClient,
  type CredentialsServiceServer,
} from "@chom/proto/chom/credentials/v1/credentials";
import { type Event, EventsServiceClient } from "@chom/proto/chom/events/v1/events";
import {
  JobsServiceClient,
  type JobsServiceServer,
  type WatchJobResponse,
} from "@chom/proto/chom/jobs/v1/jobs";
import {
  ProvisioningServiceClient,
  type ProvisioningServiceServer,
} from "@chom/proto/chom/provisioning/v1/provisioning";
import { SslServiceClient, type SslServiceServer } from "@chom/proto/chom/ssl/v1/ssl";
import {
  type ChannelCredentials,
  type Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import type { ServiceName } from "./service-process.ts";

type Callback<Response> = (error: ServiceError | null, response: Response) => void;
type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: { deadline?: number },
  callback: Callback<Response>,
) => unknown;

// Taken from the server's interface: there each method has one form, in the client's it has three.
type Promised<Server> = {
  [Name in keyof Server as string extends Name
    ? never
    : Name]: Server[Name] extends handleUnaryCall<infer Request, infer Response>
    ? (request: Request) => Promise<Response>
    : never;
};

const deadlineMs = 30_000;

function promised<Server>(client: Client, metadata: Metadata): Promised<Server> {
  return new Proxy(client, {
    get: (target, name) => (request: unknown) =>
      new Promise((resolve, reject) => {
        const method = Reflect.get(target, name) as Unary<unknown, unknown>;
        method.call(
          target,
          request,
          metadata,
          { deadline: Date.now() + deadlineMs },
          (error, response) => (error ? reject(error) : resolve(response)),
        );
      }),
  }) as unknown as Promised<Server>;
}

/** Clients that act with one token; `close` ends their connections. */
export function createClients(
  addresses: Readonly<Record<ServiceName, string>>,
  caPem: string,
  token: string,
) {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const channel: ChannelCredentials = credentials.createSsl(Buffer.from(caPem));
  const open: Client[] = [];
  const make = <C extends Client>(
    Made: new (address: string, credentials: ChannelCredentials) => C,
    service: ServiceName,
  ): C => {
    const client = new Made(addresses[service], channel);
    open.push(client);
    return client;
  };
  const events = make(EventsServiceClient, "scheduler");
  const jobs = make(JobsServiceClient, "scheduler");
  return {
    backup: promised<BackupServiceServer>(make(BackupServiceClient, "backup"), metadata),
    credentials: promised<CredentialsServiceServer>(
      make(CredentialsServiceClient, "credentials"),
      metadata,
    ),
    provisioning: promised<ProvisioningServiceServer>(
      make(ProvisioningServiceClient, "provisioning"),
      metadata,
    ),
    ssl: promised<SslServiceServer>(make(SslServiceClient, "ssl"), metadata),
    jobs: promised<JobsServiceServer>(jobs, metadata),
    /** Follows the tenant's events after a position; `stop` ends the stream. */
    follow: (afterPosition = 0n): { events: AsyncIterable<Event>; stop: () => void } => {
      const call = events.subscribe(
        { afterPosition, types: [], aggregate: "", aggregateId: "", stopAtEnd: false },
        metadata,
      );
      return { events: eventsOf(call), stop: () => call.cancel() };
    },
    /** A job's journal from its beginning, live until the job ends. */
    watch: (jobId: string): AsyncIterable<WatchJobResponse> =>
      jobs.watchJob({ jobId, afterSequence: 0n }, metadata),
    close: () => {
      for (const client of open) client.close();
    },
  };
}

export type Clients = ReturnType<typeof createClients>;

async function* eventsOf(call: AsyncIterable<{ event: Event | undefined }>): AsyncIterable<Event> {
  for await (const { event } of call) if (event) yield event;
}
