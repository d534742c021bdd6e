/** Builds a service from its cast, starts it, and stops it in the reverse order. `serve` makes a process of it. */
import { setTimeout as sleep } from "node:timers/promises";
import { permissions } from "@chom/proto/permissions";
import { sensitiveFields } from "@chom/proto/personal";
import { callAudit } from "../audit/call-audit.ts";
import { classify, operator } from "../failure/failure.ts";
import { connectNats, type Nats } from "../event-log/nats.ts";
import type { WorkReport } from "../job/work-report.ts";
import { apiTokenVerifier } from "../rpc/api-token.ts";
import { startRpcServer, type RpcServer } from "../rpc/server.ts";
import type { KeyRows } from "../secrets/key-issuer.ts";
import { createLogger, type Logger } from "../telemetry/logger.ts";
import { checkPresence, checkTopology } from "../topology/check.ts";
import { inboxPrefix, type User, users } from "../topology/names.ts";
import { type AppParts, buildApp } from "./build-app.ts";
import type { App, Cast } from "./app.ts";
import type { RpcService } from "../rpc/unary.ts";
import { type CommonSettings, commonReaders, type Loaded, loadCommon } from "./common-settings.ts";
import { rarely, watchHealth } from "./health.ts";
import { openKeys } from "./open-keys.ts";
import { checkRole } from "./database-role.ts";
import { beginRounds, doctorRounds } from "./doctor/doctor-rounds.ts";
import { checkTables, migrateService } from "./migrate.ts";
import { checksOf, operationsRpc } from "./operations-rpc.ts";
import { openPostgres, type Postgres } from "./postgres.ts";
import { type Runners, startRunners } from "./runners.ts";
import { sharedTables } from "./shared-tables.ts";
import { startTelemetry, type Telemetry } from "./telemetry.ts";
import { tokenDirectory } from "./token-directory.ts";
import { type Readers, readSettings, type Values } from "./settings.ts";

export type Service<R extends Readers> = {
  /** Also schema and role in Postgres, broker user, mutual-TLS identity and source of events. */
  readonly name: User;
  /** drizzle's migrations folder, `new URL("../migrations", import.meta.url)`. */
  readonly migrations: URL;
  /** The service's own settings, beside the common ones. */
  readonly settings?: R;
  /** Where the one service that makes tenants' keys keeps them; all others ask it. */
  readonly keyRows?: (postgres: Postgres) => KeyRows;
  /** The only composition root. */
  readonly cast: (app: App, settings: Values<R>) => Cast | Promise<Cast>;
};

export type Running = {
  readonly logger: Logger;
  /** `host:port` of the RPC server; empty when there is none. */
  readonly address: string;
  /** `host:port` of probes and metrics. */
  readonly metricsAddress: string;
  /** The workers, when this process works. */
  readonly workers: Runners["workers"];
  /** Settles with the exit code when a limit ended the work; never otherwise. */
  readonly ended: Promise<number>;
  /** NOT_SERVING, no new work, running jobs get the drain time, then everything is closed. Idempotent. */
  stop(): Promise<void>;
};

type Environment = Readonly<Record<string, string | undefined>>;
/** What jobs that were given back have to end their scripts (job/worker.ts). */
const abortMs = 15_000;

type Closer = () => Promise<unknown>;

/** No part may keep the process from its end for longer than this. */
const closeMs = 10_000;

/**
 * A stack of things to close, newest first. One that fails or takes longer than it may is logged and does not keep
 * the others open.
 */
function closers(logger: Logger) {
  const stack: { name: string; close: Closer; limitMs: number }[] = [];
  let closing: Promise<void> | undefined;
  const closeAll = async () => {
    for (const { name, close, limitMs } of stack.reverse()) {
      const cancel = new AbortController();
      const late = sleep(limitMs, "late", { signal: cancel.signal }).catch(() => "");
      const closed = close().catch((err: unknown) =>
        logger.warn({ err, part: name }, "closing failed"),
      );
      if ((await Promise.race([closed, late])) === "late") {
        logger.error({ part: name, limitMs }, "closing takes too long; going on without it");
      }
      cancel.abort();
    }
  };
  return {
    add: (name: string, close: Closer, limitMs = closeMs) =>
      void stack.push({ name, close, limitMs }),
    close: () => (closing ??= closeAll()),
  };
}

/**
 * Starts everything, or the part that CHOM_ROLE names, and answers when calls are answered and work is done. Throws
 * what keeps it from starting. `report` is told what a process works on that does nothing else.
 */
export async function startService<R extends Readers>(
  service: Service<R>,
  environment: Environment,
  report?: (report: WorkReport, logger: Logger) => void,
): Promise<Running> {
  if (!users.includes(service.name)) {
    throw operator("bad-settings", `the topology knows no user "${service.name}"`);
  }
  const own = (service.settings ?? {}) as R;
  const all = readSettings({ ...own, ...commonReaders }, environment);
  const settings = all as unknown as CommonSettings;
  const loaded = loadCommon(settings);
  const logger = createLogger({ service: service.name, level: settings.logLevel });
  logger.info({ settings: all }, "starting");
  const open = closers(logger);
  try {
    const telemetry = await startTelemetry(service.name, settings, logger);
    open.add("telemetry", telemetry.stop);
    const given = { service, settings, loaded, logger, own: all as Values<R>, open, telemetry };
    const tells = report && settings.role === "worker";
    return await compose({ ...given, report: tells ? (each) => report(each, logger) : undefined });
  } catch (error) {
    await open.close();
    throw error;
  }
}

type Composition<R extends Readers> = {
  service: Service<R>;
  settings: CommonSettings;
  loaded: Loaded;
  logger: Logger;
  own: Values<R>;
  open: ReturnType<typeof closers>;
  telemetry: Telemetry;
  report: ((report: WorkReport) => void) | undefined;
};

async function compose<R extends Readers>(parts: Composition<R>): Promise<Running> {
  const { service, settings, loaded, logger, own, open, report, telemetry } = parts;
  const { condition } = telemetry;
  const nats = await openBroker(service.name, settings);
  open.add("broker", () => nats.close());
  await checkTopology(nats, service.name);
  const url = settings.postgresUrl;
  const tables = tablesOf(service);
  if (settings.postgresOwnerUrl) {
    await migrateService({ ...tables, url: settings.postgresOwnerUrl });
  }
  await checkRole(url, service.name);
  await checkTables(url, tables);
  const postgres = openPostgres(url, service.name, settings.postgresConnections);
  open.add("postgres", () => postgres.close());

  const rows = service.keyRows?.(postgres);
  const keys = openKeys({ nats, settings, loaded, logger, rows });
  open.add("keys", async () => keys.close());
  const { sealer, issuer } = keys;
  const given = { settings, loaded, nats, postgres, sealer, issuer, logger };
  const appParts: AppParts = { name: service.name, ...given };
  const { app, attach, close } = buildApp(appParts);
  open.add("servers", close);
  const cast = await service.cast(app, own);
  open.add("cast", async () => cast.close?.());

  const runners = startRunners({ ...appParts, app, cast, attach, report });
  open.add("runners", () => runners.stop(settings.drainMs), settings.drainMs + abortMs + closeMs);
  const certificate = loaded.tls && Buffer.from(loaded.tls.cert);
  const operated = { app, cast, postgres, runners, certificate };
  const checks = checksOf(operated);
  if (settings.role !== "worker") {
    const end = beginRounds(doctorRounds(checks, app.now), postgres, logger);
    open.add("doctor", async () => end());
  }
  const operations = operationsRpc(operated, checks);
  const rpc = [...(cast.rpc ?? []), operations];
  const server = await startServer(parts, rpc, app);
  if (server) open.add("rpc", () => server.close(2_000));
  const setServing = (isServing: boolean, failed: readonly string[] = []) => {
    condition.ready = isServing;
    condition.failed = failed;
    server?.setServing(isServing);
  };
  const user = service.name;
  const health = watch({ nats, user, postgres, setServing, runners, logger, now: app.now });
  condition.started = true;
  const { address = "" } = server ?? {};
  logger.info({ role: settings.role, address }, "serving");
  const { workers, ended } = runners;
  return {
    ...{ logger, address, workers, ended, metricsAddress: telemetry.address },
    async stop() {
      condition.draining = true;
      health.abort();
      setServing(false);
      await open.close();
    },
  };
}

export const tablesOf = ({ name, migrations }: Pick<Service<Readers>, "name" | "migrations">) => ({
  ...{ service: name, shared: sharedTables(name), folder: migrations },
});

/** The broker's users are named like the services. */
const openBroker = (user: User, { natsUrl, natsSeed, natsCaFile }: CommonSettings): Promise<Nats> =>
  connectNats({
    servers: natsUrl,
    name: user,
    seed: natsSeed,
    inboxPrefix: inboxPrefix(user),
    caFile: natsCaFile,
  });

/** A worker answers nothing but health calls, and those only where it was told to listen. */
async function startServer<R extends Readers>(
  { settings, loaded, logger }: Composition<R>,
  rpc: readonly RpcService[],
  app: App,
): Promise<RpcServer | undefined> {
  const { listen, role, environment } = settings;
  if (!listen) return undefined;
  const answers = role !== "worker";
  return startRpcServer({
    listen,
    tls: loaded.tls,
    tokenKeys: loaded.tokenKeys,
    apiTokens: apiTokenVerifier(tokenDirectory(app.nats), app.now),
    permissions,
    services: answers ? rpc : [],
    audit: callAudit({
      ...{ log: app.audit, service: app.name, permissions, sensitive: sensitiveFields },
      ...{ now: app.now, newId: app.newId },
    }),
    callLimits: {
      perCaller: settings.callsPerCaller,
      perTenant: settings.callsPerTenant,
      streamsPerCaller: settings.streamsPerCaller,
    },
    sessionLimits: { connectionsPerAddress: settings.connectionsPerAddress },
    reflection: answers && environment !== "production",
    ready: (tenant) => app.sealer.ready(tenant),
    logger,
  });
}

/** How often it is asked whether all streams and consumers are still there. */
const presenceEveryMs = 60_000;

function watch(parts: {
  nats: Nats;
  user: User;
  postgres: Postgres;
  setServing: (isServing: boolean, failed?: readonly string[]) => void;
  runners: Runners;
  logger: Logger;
  now: () => Date;
}): AbortController {
  const { nats, user, postgres, setServing, runners, logger, now } = parts;
  const health = new AbortController();
  const topology = { name: "topology", run: () => checkPresence(nats, user) };
  const checks = [
    rarely(topology, presenceEveryMs, () => now().getTime()),
    { name: "broker", run: async () => void (await nats.flush()) },
    { name: "postgres", run: () => postgres.check() },
    { name: "runners", run: () => runners.check() },
  ];
  setServing(true);
  const { signal } = health;
  watchHealth({ checks, everyMs: 5_000, signal, logger, setServing }).catch((error: unknown) =>
    logger.error({ err: classify(error) }, "health watch ended"),
  );
  return health;
}
