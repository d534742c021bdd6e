/** Settings of probes, metrics and traces; what leaves the process by OTLP has OpenTelemetry's own names. */
import { address, flag, oneOf, text, url, type Values } from "./settings.ts";

const optional = { fallback: undefined };

export const telemetryReaders = {
  /** Where `/livez`, `/readyz`, `/startupz` and `/metrics` are answered; port 0 takes a free one. */
  metricsListen: address("CHOM_METRICS_LISTEN", { fallback: "127.0.0.1:0" }),
  /** With one of the endpoints, traces and metrics are sent there; the exporters read the rest of OTEL_EXPORTER_OTLP_*. */
  otlpEndpoint: url("OTEL_EXPORTER_OTLP_ENDPOINT", optional),
  otlpTracesEndpoint: url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", optional),
  otlpMetricsEndpoint: url("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", optional),
  tracesExporter: oneOf("OTEL_TRACES_EXPORTER", ["otlp", "none"], { fallback: "otlp" }),
  metricsExporter: oneOf("OTEL_METRICS_EXPORTER", ["otlp", "none", "prometheus"], {
    fallback: "otlp",
  }),
  /** Part of the traces that begin here and are kept, 0 to 1; those begun elsewhere keep what their parent decided. */
  tracesRatio: text("OTEL_TRACES_SAMPLER_ARG", { fallback: "1" }),
  otelDisabled: flag("OTEL_SDK_DISABLED", { fallback: false }),
} as const;

export type TelemetrySettings = Values<typeof telemetryReaders>;

/** What is wrong with the settings; each line names its variable. */
export function telemetryProblems({ tracesRatio }: TelemetrySettings): string[] {
  const isRatio = /^(?:0(?:\.\d{1,9})?|1(?:\.0{1,9})?)$/.test(tracesRatio);
  return isRatio ? [] : ["OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1"];
}

/** What is sent, and what part of traces. */
export const telemetryPlan = (settings: TelemetrySettings) => ({
  sendsTraces:
    !settings.otelDisabled &&
    settings.tracesExporter === "otlp" &&
    (settings.otlpEndpoint ?? settings.otlpTracesEndpoint) !== undefined,
  sendsMetrics:
    !settings.otelDisabled &&
    settings.metricsExporter === "otlp" &&
    (settings.otlpEndpoint ?? settings.otlpMetricsEndpoint) !== undefined,
  ratio: Number(settings.tracesRatio),
});
