/** What a process shows of itself: probes and metrics from its first moment on, traces where somebody wants them. */
import { hostname } from "node:os";
import type { TelemetryIdentity } from "../telemetry/identity.ts";
import type { Logger } from "../telemetry/logger.ts";
import { gauge } from "../telemetry/metrics.ts";
import { startMetrics } from "../telemetry/start-metrics.ts";
import { type Condition, startProbes } from "./probes.ts";
import { telemetryPlan, type TelemetrySettings } from "./telemetry-settings.ts";

export type Telemetry = {
  readonly condition: Condition;
  /** `host:port` of probes and metrics. */
  readonly address: string;
  readonly stop: () => Promise<void>;
};

/** Answers probes and measures from now on. Failure `permanent` "invalid-config" when it cannot listen. */
export async function startTelemetry(
  service: string,
  settings: TelemetrySettings,
  logger: Logger,
): Promise<Telemetry> {
  const identity: TelemetryIdentity = {
    "service.name": service,
    "service.namespace": "chom",
    "service.instance.id": `${hostname()}.${process.pid}`,
  };
  const condition: Condition = { started: false, ready: false, draining: false, failed: [] };
  const plan = telemetryPlan(settings);
  const metrics = startMetrics(identity, plan.sendsMetrics);
  const stopTraces = plan.sendsTraces ? await tracing(identity, plan.ratio) : undefined;
  gauge("chom_ready", () => {
    const { started, ready, draining } = condition;
    return [{ value: started && ready && !draining ? 1 : 0, labels: {} }];
  });
  const probes = await startProbes(settings.metricsListen, condition, metrics.answer);
  logger.info({ address: probes.address }, "probes and metrics are answered");
  return {
    condition,
    address: probes.address,
    async stop() {
      await stopTraces?.();
      await probes.close();
      await metrics.stop();
    },
  };
}

/** Most processes are not traced: then the SDK is not even loaded. */
async function tracing(identity: TelemetryIdentity, ratio: number): Promise<() => Promise<void>> {
  const { startTraces } = await import("../telemetry/start-traces.ts");
  return startTraces(identity, { ratio });
}
