/** The App of a service: what its jobs, RPCs and reactors are built from. */
import { SignerServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { timeId } from "../aggregate/id.ts";
import { auditLog } from "../audit/audit-log.ts";
import { handleCommand, loadAggregate } from "../event-log/aggregates.ts";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import type { Nats } from "../event-log/nats.ts";
import { failureOf, transient } from "../failure/failure.ts";
import { connectRpc } from "../rpc/client.ts";
import { remoteSigner } from "../script/remote-signer.ts";
import type { SessionPorts } from "../script/sessions.ts";
import { sshServers } from "../script/ssh-servers.ts";
import type { KeyIssuer } from "../secrets/key-issuer.ts";
import { randomPool } from "../secrets/random-pool.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { App } from "./app.ts";
import type { CommonSettings, Loaded } from "./common-settings.ts";
import type { Postgres } from "./postgres.ts";
import { dispatchRequested } from "./requested.ts";

export type AppParts = {
  readonly name: string;
  readonly settings: CommonSettings;
  readonly loaded: Loaded;
  readonly nats: Nats;
  readonly postgres: Postgres;
  readonly sealer: Sealer;
  readonly issuer: KeyIssuer | undefined;
  readonly logger: Logger;
};

const noSigner: SessionPorts = {
  openSession: () => Promise.reject(unavailable()),
  sign: () => Promise.reject(unavailable()),
  reportHostKey: () => Promise.reject(unavailable()),
};
const unavailable = () =>
  failureOf("signer-unavailable", "CHOM_CREDENTIALS_URL is not set: nobody signs log-ins");

/** The signer of the credentials service, when the settings say where it is. */
function remotePorts({ settings, loaded }: AppParts): {
  ports: SessionPorts;
  close: () => void;
} {
  if (!settings.credentialsAddress) return { ports: noSigner, close: () => {} };
  const { calls, close } = connectRpc(SignerServiceService, {
    address: settings.credentialsAddress,
    ...(loaded.tls ? { tls: loaded.tls } : {}),
  });
  return { ports: remoteSigner(calls), close };
}

/** What only exists once the cast is known. */
export type Attached = Pick<App, "dispatch" | "seen"> & {
  /** Of the one service that has the keys itself. */
  readonly signer: SessionPorts | undefined;
};

const tooEarly = () =>
  Promise.reject(transient("service-unavailable", "the service has not started yet"));

/** Makes the App. Dispatching and reading wait for `attach`, because jobs and projections are made from the App. */
export function buildApp(parts: AppParts): {
  app: App;
  attach: (attached: Attached) => void;
  close: () => Promise<void>;
} {
  const { name, nats, postgres, sealer, issuer, logger } = parts;
  const log = jetstreamLog(nats);
  const remote = remotePorts(parts);
  let late: Attached = { dispatch: tooEarly, seen: tooEarly, signer: undefined };
  const signer = () => late.signer ?? remote.ports;
  const servers = sshServers({
    openSession: (owner, signal) => signer().openSession(owner, signal),
    sign: (owner, publicKey, data) => signer().sign(owner, publicKey, data),
    reportHostKey: (owner, hostKey) => signer().reportHostKey(owner, hostKey),
    logger,
  });
  const now = () => new Date();
  const random = randomPool();
  const audit = auditLog(nats, logger);
  const histories = { log, sealer, source: name, now };
  const app: App = {
    name,
    db: postgres.db,
    log,
    nats,
    sealer,
    issuer,
    servers,
    logger,
    audit,
    now,
    newId: () => timeId(now(), random(10)),
    load: (aggregate, tenant, id) => loadAggregate(histories, aggregate, tenant, id),
    handle: (of, id, ...[command, input, cause]) =>
      handleCommand(histories, { of, id, command, input, cause }),
    dispatch: (command) => dispatchRequested(command, late.dispatch),
    seen: (projection, position) => late.seen(projection, position),
  };
  const close = async () => {
    await servers.close();
    remote.close();
    await audit.close();
  };
  const attach = (attached: Attached) => {
    late = attached;
  };
  return { app, attach, close };
}
