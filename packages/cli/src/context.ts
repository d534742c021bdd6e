/** The context: where the services are and who asks; a JSON file. */
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { AuditServiceService } from "@chom/proto/chom/audit/v1/audit";
import { BackupServiceService } from "@chom/proto/chom/backup/v1/backup";
import { DatabaseBackupsServiceService } from "@chom/proto/chom/backup/v1/databases";
import { RetentionServiceService } from "@chom/proto/chom/backup/v1/retention";
import { CredentialsServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { KeysServiceService } from "@chom/proto/chom/credentials/v1/keys";
import { RotationsServiceService } from "@chom/proto/chom/credentials/v1/rotations";
import { TokensServiceService } from "@chom/proto/chom/credentials/v1/tokens";
import { EventsServiceService } from "@chom/proto/chom/events/v1/events";
import { DispatchServiceService } from "@chom/proto/chom/jobs/v1/dispatch";
import { JobsServiceService } from "@chom/proto/chom/jobs/v1/jobs";
import { QueuesServiceService } from "@chom/proto/chom/jobs/v1/queues";
import { ArchiveServiceService } from "@chom/proto/chom/operations/v1/archive";
import { OperationsServiceService } from "@chom/proto/chom/operations/v1/operations";
import { ProvisioningServiceService } from "@chom/proto/chom/provisioning/v1/provisioning";
import { AlertsServiceService } from "@chom/proto/chom/scheduler/v1/alerts";
import { FlowsServiceService } from "@chom/proto/chom/scheduler/v1/flows";
import { SchedulesServiceService } from "@chom/proto/chom/scheduler/v1/schedules";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { permanent } from "@chom/shared/failure/failure";
import { type ConnectOptions, connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";

export type Context = {
  /** `host:port` by service name. */
  readonly urls: Readonly<Record<string, string>>;
  /** PEM of the CA of the services; left out towards plain servers in development. */
  readonly caFile?: string;
  readonly tokenFile: string;
  /** What people call it, like "production": typed back before many things are destroyed. */
  readonly environment?: string;
};

export const defaultContextFile = join(homedir(), ".config", "chom", "context.json");

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/** Reads a context file. Failure `permanent` "context-missing" or "context-invalid". */
export function readContext(path: string): Context {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw permanent("context-missing", `no context at ${path}`, { cause });
  }
  try {
    const parsed = JSON.parse(text) as Partial<Context>;
    const { urls, tokenFile, caFile, environment } = parsed;
    if (typeof urls !== "object" || urls === null || !isText(tokenFile)) throw new Error("");
    return {
      ...{ urls, tokenFile },
      ...(isText(caFile) ? { caFile } : {}),
      ...(isText(environment) ? { environment } : {}),
    };
  } catch (cause) {
    const shape =
      '{"urls": {"<service>": "host:port"}, "caFile": "…", "tokenFile": "…", "environment": "…"}';
    throw permanent("context-invalid", `${path} is not ${shape}`, { cause });
  }
}

function readToken(path: string): Secret {
  try {
    if ((statSync(path).mode & 0o007) !== 0) {
      process.stderr.write(`warning: everyone may read the token: chmod 600 ${path}\n`);
    }
    return new Secret(readFileSync(path, "utf8").trim());
  } catch (cause) {
    throw permanent("context-invalid", `the token file ${path} cannot be read`, { cause });
  }
}

function caOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw permanent("context-invalid", `the CA file ${path} cannot be read`, { cause });
  }
}

type Operations = ReturnType<typeof connectRpc<typeof OperationsServiceService>>["calls"];

/** Clients of all services. Each connects when it is first called; `close` ends them. */
export function connectAll(context: Context) {
  const closers: (() => void)[] = [];
  const token = readToken(context.tokenFile);
  const tls = context.caFile ? { tls: { ca: caOf(context.caFile) } } : {};
  const at = (service: string): ConnectOptions => {
    const address = context.urls[service];
    if (!address) throw permanent("context-invalid", `the context names no address of ${service}`);
    return { address, ...tls, token: () => token };
  };
  function lazily<T>(connect: () => { calls: T; close(): void }): () => T {
    let calls: T | undefined;
    return () => {
      if (calls) return calls;
      const made = connect();
      closers.push(made.close);
      calls = made.calls;
      return calls;
    };
  }
  const operations = new Map<string, () => Operations>();
  const connectOperations = (service: string) => {
    const known = operations.get(service);
    if (known) return known;
    const made = lazily(() => connectRpc(OperationsServiceService, at(service)));
    operations.set(service, made);
    return made;
  };
  return {
    credentials: lazily(() => connectRpc(CredentialsServiceService, at("credentials"))),
    provisioning: lazily(() => connectRpc(ProvisioningServiceService, at("provisioning"))),
    backup: lazily(() => connectRpc(BackupServiceService, at("backup"))),
    databases: lazily(() => connectRpc(DatabaseBackupsServiceService, at("backup"))),
    retention: lazily(() => connectRpc(RetentionServiceService, at("backup"))),
    rotations: lazily(() => connectRpc(RotationsServiceService, at("credentials"))),
    keys: lazily(() => connectRpc(KeysServiceService, at("credentials"))),
    tokens: lazily(() => connectRpc(TokensServiceService, at("credentials"))),
    ssl: lazily(() => connectRpc(SslServiceService, at("ssl"))),
    dispatch: lazily(() => connectRpc(DispatchServiceService, at("scheduler"))),
    audit: lazily(() => connectRpc(AuditServiceService, at("scheduler"))),
    alerts: lazily(() => connectRpc(AlertsServiceService, at("scheduler"))),
    flows: lazily(() => connectRpc(FlowsServiceService, at("scheduler"))),
    schedules: lazily(() => connectRpc(SchedulesServiceService, at("scheduler"))),
    jobs: lazily(() => connectRpc(JobsServiceService, at("scheduler"))),
    events: lazily(() => connectRpc(EventsServiceService, at("scheduler"))),
    queues: lazily(() => connectRpc(QueuesServiceService, at("scheduler"))),
    archive: lazily(() => connectRpc(ArchiveServiceService, at("scheduler"))),
    /** Names of all that the context knows. */
    services: Object.keys(context.urls),
    /** Every service answers it. */
    operations: (service: string) => connectOperations(service)(),
    close: () => {
      for (const close of closers) close();
    },
  };
}

export type Clients = ReturnType<typeof connectAll>;
