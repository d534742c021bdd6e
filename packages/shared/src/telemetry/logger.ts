/** Structured logs: one JSON line an entry on stdout, secrets and key material never in it. */
import { type DestinationStream, type LoggerOptions, type Logger as Pino, pino } from "pino";
import { scrub } from "../secrets/scrub.ts";
import { currentIds } from "./tracing.ts";

export type Logger = Pick<Pino, "debug" | "info" | "warn" | "error" | "child">;

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** Deeper parts of an object are left out: log entries are facts, not dumps. */
const deepest = 6;

/** A copy for the log: every text scrubbed, errors with stack and cause, Secrets and bytes never shown. */
function printable(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return scrub(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (depth >= deepest) return "[…]";
  if (value instanceof Error) return printableError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.slice(0, 100).map((item) => printable(item, depth + 1));
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return printable(value.toJSON(), depth + 1);
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, printable(item, depth + 1)]),
  );
}

const printableError = (error: Error, depth: number): unknown => ({
  type: error.name,
  message: scrub(error.message),
  ...("code" in error ? { code: printable(error.code, depth + 1) } : {}),
  ...("kind" in error ? { kind: printable(error.kind, depth + 1) } : {}),
  stack: scrub(error.stack ?? ""),
  ...(error.cause === undefined ? {} : { cause: printable(error.cause, depth + 1) }),
});

/**
 * A logger that writes JSON lines with `service`, `level` as a word and ISO time, and within a trace its ids. Errors go under `err`.
 * Everything logged is scrubbed of key shapes; `destination` is stdout unless a test gives another.
 */
export function createLogger(
  { service, level }: { service: string; level: LogLevel },
  destination?: DestinationStream,
): Logger {
  const options: LoggerOptions = {
    level,
    base: { service },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    // `trace_id` and `span_id`, where there is a trace.
    mixin: () => currentIds() ?? {},
    formatters: { level: (label: string) => ({ level: label }) },
    // `printable` has made plain objects of errors already.
    serializers: { err: (err: unknown) => err },
    hooks: {
      logMethod(args, method) {
        method.apply(this, printableArguments(args) as typeof args);
      },
    },
  };
  return scrubbedChildren(destination ? pino(options, destination) : pino(options));
}

/** pino makes the message of an entry from its error when there is none: that one has to be scrubbed too. */
function printableArguments(args: readonly unknown[]): unknown[] {
  const [first, ...rest] = args.map((arg) => printable(arg));
  const [given] = args;
  if (typeof given !== "object" || given === null) return [first, ...rest];
  const error = given instanceof Error ? given : "err" in given ? given.err : undefined;
  const entry = given instanceof Error ? { err: first } : first;
  return rest.length === 0 && error instanceof Error
    ? [entry, scrub(error.message)]
    : [entry, ...rest];
}

/** pino does not format the bindings of children, so they are made printable before it sees them. */
const scrubbedChildren = (logger: Pino): Logger => ({
  debug: logger.debug.bind(logger),
  info: logger.info.bind(logger),
  warn: logger.warn.bind(logger),
  error: logger.error.bind(logger),
  // The one method whose type parameter (custom levels) is of no use here.
  child: ((bindings: object) =>
    scrubbedChildren(logger.child(printable(bindings) as object))) as Logger["child"],
});
