/** Structured logs: one JSON line an entry on stdout, secrets and key material never in it. */
import type { Logger as Pino } from "pino";

export type Logger = Pick<Pino, "debug" | "info" | "warn" | "error" | "child">;
