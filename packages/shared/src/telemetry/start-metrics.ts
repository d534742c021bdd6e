/** The metrics of a process: collected by the OpenTelemetry SDK, read by Prometheus and, where wanted, sent by OTLP. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { gauge, useMeter } from "./metrics.ts";
import type { TelemetryIdentity } from "./identity.ts";

export type RunningMetrics = {
  /** Answers in Prometheus' text format. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
  readonly stop: () => Promise<void>;
};

const resolutionMs = 20;
const nanosecondsPerSecond = 1e9;

function watchProcess(): () => void {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  gauge("process_resident_memory_bytes", () => [{ value: process.memoryUsage.rss(), labels: {} }]);
  gauge("process_start_time_seconds", () => [
    { value: performance.timeOrigin / 1_000, labels: {} },
  ]);
  gauge("nodejs_eventloop_delay_seconds", () => {
    const value = delay.count === 0 ? 0 : delay.percentile(99) / nanosecondsPerSecond;
    delay.reset();
    return [{ value, labels: {} }];
  });
  return () => delay.disable();
}

/** Collects from now on; `otlp` also sends every minute to where the OTEL_EXPORTER_OTLP_* variables say. */
export function startMetrics(identity: TelemetryIdentity, otlp: boolean): RunningMetrics {
  const prometheus = new PrometheusExporter({
    preventServerStart: true,
    withoutScopeInfo: true,
    withResourceConstantLabels: /^service\.name$/,
  });
  const sender = otlp
    ? [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() })]
    : [];
  const provider = new MeterProvider({
    resource: resourceFromAttributes(identity),
    readers: [prometheus, ...sender],
  });
  const forget = useMeter(provider.getMeter("chom"));
  const unwatch = watchProcess();
  return {
    answer: (request, response) => prometheus.getMetricsRequestHandler(request, response),
    async stop() {
      unwatch();
      forget();
      await provider.shutdown();
    },
  };
}
