/**
 * Spans: a look at one variable and the work itself until a tracer is given; `start-traces.ts` gives one. Their
 * attributes are ids, names from code and codes of failures: no text of a user, no payload, no address, no secret.
 */
import {
  type Context,
  context,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import { classify } from "../failure/failure.ts";
import { formatTraceparent, parseTraceparent } from "./trace.ts";

/** All that a span may tell. */
export type Facts = Partial<
  Readonly<
    Record<
      | "chom.tenant"
      | "chom.family"
      | "chom.job.id"
      | "chom.job.name"
      | "chom.job.attempt"
      | "chom.job.outcome"
      | "chom.server.id"
      | "chom.step"
      | "chom.script"
      | "chom.event.type"
      | "chom.event.id"
      | "chom.reactor"
      | "chom.projection"
      | "chom.entries"
      | "chom.acme.operation"
      | "rpc.method"
      | "chom.code",
      string | number
    >
  >
>;

export type SpanSettings = {
  /** From code: never made of what a caller wrote. */
  readonly name: string;
  readonly kind?: "internal" | "server" | "client" | "producer" | "consumer";
  /** A traceparent; empty begins a trace. Left out: the span that is under way. */
  readonly parent?: string;
  /** Traceparents of what else this belongs to. */
  readonly links?: readonly string[];
  readonly facts?: Facts;
};

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

// One process, one tracer, like the API's own global.
let tracer: Tracer | undefined;

/** Traces with this tracer from now on; undefined: no longer. */
export function useTracer(given: Tracer | undefined): void {
  tracer = given;
}

/** Whether anybody wants spans here. */
export const isTracing = (): boolean => tracer !== undefined;

function contextOf(traceparent: string): SpanContext | undefined {
  const known = parseTraceparent(traceparent);
  if (!known) return undefined;
  const { traceId, spanId, sampled } = known;
  return { traceId, spanId, traceFlags: sampled ? 1 : 0, isRemote: true };
}

function parentContext(parent: string | undefined): Context {
  if (parent === undefined) return context.active();
  const remote = contextOf(parent);
  return remote ? trace.setSpanContext(ROOT_CONTEXT, remote) : ROOT_CONTEXT;
}

function linksOf(traceparents: readonly string[] = []): Link[] {
  return traceparents.flatMap((traceparent) => {
    const linked = contextOf(traceparent);
    return linked ? [{ context: linked }] : [];
  });
}

function failed(span: Span, error: unknown): void {
  const { code } = classify(error);
  span.setAttribute("chom.code", code);
  // The message of a failure is for people who may see it; a trace has other readers.
  span.setStatus({ code: SpanStatusCode.ERROR, message: code });
}

/**
 * Runs work within a span that ends with it; what it throws marks the span with its code. A part of nothing (an
 * `internal` or `client` span while no other is under way) is no trace of its own: then the work just runs.
 */
export async function inSpan<T>(settings: SpanSettings, work: () => Promise<T>): Promise<T> {
  if (!tracer) return work();
  const { name, kind = "internal", parent, links, facts } = settings;
  const isPart = parent === undefined && (kind === "internal" || kind === "client");
  if (isPart && !trace.getActiveSpan()) return work();
  const around = parentContext(parent);
  const options = { kind: kinds[kind], links: linksOf(links), attributes: facts ?? {} };
  const span = tracer.startSpan(name, options, around);
  try {
    return await context.with(trace.setSpan(around, span), work);
  } catch (error) {
    failed(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Adds facts to the span under way. */
export function noteFacts(facts: Facts): void {
  if (tracer) trace.getActiveSpan()?.setAttributes(facts);
}

/** Marks the span under way as failed without anything being thrown. */
export function noteFailure(code: string): void {
  if (!tracer) return;
  const span = trace.getActiveSpan();
  span?.setAttribute("chom.code", code);
  span?.setStatus({ code: SpanStatusCode.ERROR, message: code });
}

/** The traceparent of the span under way; empty when there is none. */
export function currentTraceparent(): string {
  if (!tracer) return "";
  const active = trace.getActiveSpan()?.spanContext();
  if (!active) return "";
  const { traceId, spanId, traceFlags } = active;
  return formatTraceparent({ traceId, spanId, sampled: (traceFlags & 1) === 1 });
}

/** `trace_id` and `span_id` of the span under way, for the log; undefined when there is none. */
export function currentIds(): { trace_id: string; span_id: string } | undefined {
  if (!tracer) return undefined;
  const active = trace.getActiveSpan()?.spanContext();
  return active && { trace_id: active.traceId, span_id: active.spanId };
}
