/** The dashboard: a web page for operators. It has no rights and no database of its own. */
import type { AddressInfo } from "node:net";
import { classify } from "@chom/shared/failure/failure";
import { createLogger } from "@chom/shared/telemetry/logger";
import { liveHub } from "./live/hub.ts";
import { routes } from "./pages/routes.ts";
import { connectServices, whoIs } from "./services.ts";
import { loadAssets } from "./web/assets.ts";
import { sessionCookies } from "./web/cookie.ts";
import { rateLimit } from "./web/rate-limit.ts";
import { webServer } from "./web/server.ts";
import { dashboardSettings } from "./web/settings.ts";

const early = createLogger({ service: "dashboard", level: "info" });

function start() {
  const settings = dashboardSettings(process.env);
  const logger = createLogger({ service: "dashboard", level: settings.logLevel });
  logger.info({ settings: { ...settings, servicesCa: undefined, webCert: undefined } }, "starting");
  const services = connectServices(settings);
  const now = () => Date.now();
  const live = liveHub({ as: services.as, viewersMax: settings.liveMax });
  const { webCert, webKey, behindProxy, publicUrl } = settings;
  const tls = webCert && webKey ? { cert: webCert, key: webKey.reveal() } : undefined;
  const web = {
    ...{ routes, assets: loadAssets(), cookies: sessionCookies(settings.sessionKeys) },
    ...{ as: services.as, whoIs: whoIs(services.as, now), live, now, logger },
    attempts: rateLimit({ burst: 10, everyMs: 6_000 }),
    reach: { isTls: tls !== undefined, behindProxy, publicUrl },
  };
  const server = webServer(web, tls);
  const cut = settings.listen.lastIndexOf(":");
  const host = settings.listen.slice(0, cut).replace(/^\[|\]$/g, "");
  server.listen(Number(settings.listen.slice(cut + 1)), host, () => {
    const { port } = server.address() as AddressInfo;
    logger.info({ address: `${host}:${port}`, isTls: tls !== undefined }, "serving");
  });
  server.on("error", die("cannot listen"));
  return () => {
    logger.info("stopping");
    live.close();
    server.close(() => {
      services.close();
      logger.info("stopped");
      process.exit(0);
    });
    server.closeIdleConnections();
    // Pages that are being made have had their time by then.
    setTimeout(() => server.closeAllConnections(), 5_000).unref();
  };
}

function die(what: string): (error: unknown) => void {
  return (err) => {
    early.error({ err }, what);
    process.exit(1);
  };
}

process.on("uncaughtException", die("uncaught exception"));
process.on("unhandledRejection", die("unhandled rejection"));
try {
  const stop = start();
  let isStopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (isStopping) process.exit(1);
      isStopping = true;
      stop();
    });
  }
} catch (error) {
  const { code, message } = classify(error);
  process.stderr.write(`dashboard does not start (${code}): ${message}\n`);
  die("start refused")(error);
}
