/** `serve`: one service as a process, from its settings to its clean end. */
import { classify } from "../failure/failure.ts";
import { createLogger } from "../telemetry/logger.ts";
import { parentOf } from "./parent.ts";
import { migrateService } from "./migrate.ts";
import { type Readers, readSettings, secretFile } from "./settings.ts";
import { type Running, type Service, startService, tablesOf } from "./start.ts";

/** SIGUSR2 pauses the workers and lets them go on in turn; SIGCONT lets them go on. Jobs in hand are not touched. */
function pauseBySignal(running: () => Running | undefined): void {
  const turn = (wanted: "pause" | "resume" | "other") => {
    const { workers, logger } = running() ?? {};
    if (!workers) return;
    const isPaused = wanted === "other" ? !workers.isPaused() : wanted === "pause";
    if (isPaused === workers.isPaused()) return;
    if (isPaused) workers.pause();
    else workers.resume();
    logger?.info(isPaused ? "paused: nothing new is taken" : "taking work again");
  };
  process.on("SIGUSR2", () => turn("other"));
  process.on("SIGCONT", () => turn("resume"));
}

/** What `main.ts migrate` is told: nothing of what a serving process knows. */
const migrationReaders = { url: secretFile("CHOM_POSTGRES_OWNER_URL_FILE") };

/**
 * Starts a service and keeps the process until SIGTERM or SIGINT: then it drains and exits 0. What keeps it from
 * starting, and what nobody caught, is logged and exits 1. A second signal exits at once, with 1. A worker that a
 * limit ended exits 0, or 12 when it was its memory. One that was started with a channel ends with its parent.
 * With the argument `migrate` it only makes and changes the service's tables, as their owner, and exits.
 */
export async function serve<R extends Readers>(service: Service<R>): Promise<void> {
  const early = createLogger({ service: service.name, level: "info" });
  let running: Running | undefined;
  const die = (what: string) => (err: unknown) => {
    (running?.logger ?? early).error({ err }, what);
    // Set for the log to be flushed first; stdout of a pipe is written in time by the exit itself.
    process.exitCode = 1;
    process.exit();
  };
  const refuse = (what: string, error: unknown) => {
    const { code, message } = classify(error);
    process.stderr.write(`${service.name} ${what} (${code}): ${message}\n`);
    die("start refused")(error);
  };
  process.on("uncaughtException", die("uncaught exception"));
  process.on("unhandledRejection", die("unhandled rejection"));
  if (process.argv[2] === "migrate") {
    const settings = () => readSettings(migrationReaders, process.env);
    const migrate = async () => migrateService({ ...tablesOf(service), ...settings() });
    return migrate().catch((error: unknown) => refuse("does not migrate", error));
  }
  const parent = parentOf(process, () => stop("parent gone"));
  let stopping = false;
  const end = (why: object, exitCode: number) => {
    stopping = true;
    const { logger } = running ?? { logger: early };
    logger.info(why, "stopping");
    (running?.stop() ?? Promise.resolve()).then(async () => {
      logger.info("stopped");
      await parent.told();
      process.exit(exitCode);
    }, die("stopping failed"));
  };
  let signals = 0;
  const stop = (signal: string) => {
    signals += 1;
    if (signals > 1) process.exit(1);
    if (!running) process.exit(0);
    parent.tell({ work: "worker-stopping", reason: signal });
    if (!stopping) end({ signal }, 0);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  pauseBySignal(() => running);
  try {
    running = await startService(service, process.env, (report, logger) => {
      logger.info(report, "work");
      parent.tell(report);
    });
  } catch (error) {
    refuse("does not start", error);
  }
  void running?.ended.then((exitCode) => {
    if (!stopping) end({ exitCode }, exitCode);
  });
}
