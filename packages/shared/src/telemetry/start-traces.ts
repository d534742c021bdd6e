/** The traces of a process, sent by OTLP over HTTP. Loaded only where somebody wants them. */
import { context } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { TelemetryIdentity } from "./identity.ts";
import { useTracer } from "./tracing.ts";

/** Spans that wait to be sent; more are dropped, so that a collector that is away costs no memory without end. */
const queueMax = 2_048;
const sendEveryMs = 2_000;
/** Attributes are ids and codes; anything longer is a mistake. */
const attributeLengthMax = 128;

export type TraceSettings = {
  /** Part of the traces that begin here and are kept, 0 to 1; others keep what their parent decided. */
  readonly ratio: number;
  /** Default: where the OTEL_EXPORTER_OTLP_* variables say. */
  readonly exporter?: SpanExporter;
};

/** Traces from now on; answers how to stop, which sends what is left. */
export function startTraces(
  identity: TelemetryIdentity,
  { ratio, exporter = new OTLPTraceExporter() }: TraceSettings,
): () => Promise<void> {
  const provider = new TracerProvider({
    resource: resourceFromAttributes(identity),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanLimits: { attributeValueLengthLimit: attributeLengthMax, linkCountLimit: 128 },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: queueMax,
        scheduledDelayMillis: sendEveryMs,
      }),
    ],
  });
  const contexts = new AsyncLocalStorageContextManager().enable();
  context.setGlobalContextManager(contexts);
  useTracer(provider.getTracer("chom"));
  return async () => {
    useTracer(undefined);
    await provider.shutdown();
    context.disable();
    contexts.disable();
  };
}
