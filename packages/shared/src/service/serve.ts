/** `serve`: one service as a process, from its settings to its clean end. */
import { classify } from "../failure/failure.ts";
import { createLogger } from "../telemetry/logger.ts";
import type { Readers } from "./settings.ts";
import { type Running, type Service, startService } from "./start.ts";

/**
 * Starts a service and keeps the process until SIGTERM or SIGINT: then it drains and exits 0. What keeps it from
 * starting, and what nobody caught, is logged and exits 1. A second signal exits at once.
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
  process.on("uncaughtException", die("uncaught exception"));
  process.on("unhandledRejection", die("unhandled rejection"));
  let signals = 0;
  const stop = (signal: NodeJS.Signals) => {
    signals += 1;
    if (signals > 1) process.exit(1);
    if (!running) process.exit(0);
    const { logger } = running;
    logger.info({ signal }, "stopping");
    running.stop().then(() => {
      logger.info("stopped");
      process.exit(0);
    }, die("stopping failed"));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  try {
    running = await startService(service, process.env);
  } catch (error) {
    const { code, message } = classify(error);
    process.stderr.write(`${service.name} does not start (${code}): ${message}\n`);
    die("start refused")(error);
  }
}
