import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { count, gauge, timed } from "../telemetry/metrics.ts";
import { startMetrics } from "../telemetry/start-metrics.ts";
import { type Condition, startProbes } from "./probes.ts";

async function listening() {
  const condition: Condition = { started: false, ready: false, draining: false, failed: [] };
  const identity = {
    "service.name": "ssl",
    "service.namespace": "chom",
    "service.instance.id": "host.1",
  } as const;
  const metrics = startMetrics(identity, false);
  const probes = await startProbes("127.0.0.1:0", condition, metrics.answer);
  onTestFinished(async () => {
    await probes.close();
    await metrics.stop();
  });
  const get = (path: string, method = "GET") =>
    fetch(`http://${probes.address}${path}`, { method });
  return { condition, get, address: probes.address };
}

test("probes answer what the process is by now", async () => {
  const { condition, get } = await listening();
  expect((await get("/livez")).status).toBe(200);
  expect((await get("/startupz")).status).toBe(503);
  Object.assign(condition, { started: true, ready: true });
  expect((await get("/readyz?verbose")).status).toBe(200);
  Object.assign(condition, { draining: true });
  expect(await (await get("/readyz")).json()).toMatchObject({ draining: true });
  expect((await get("/anything")).status).toBe(404);
  expect((await get("/readyz", "POST")).status).toBe(404);
});

test("what was measured is there in Prometheus' format, with the service and no other identity", async () => {
  const { get } = await listening();
  timed(
    "chom_job_duration_seconds",
    { family: "ssl", job: "certificate.issue", outcome: "ok" },
    700,
  );
  count("chom_nats_reconnects_total", {});
  gauge("chom_jobs_running", () => [{ value: 3, labels: { family: "ssl" } }]);
  gauge("chom_queue_depth", () => Promise.reject(new Error("the database is away")));
  gauge("chom_failed_jobs", () => sleep(60_000, [], { ref: false }));
  const text = await (await get("/metrics")).text();
  const labels = 'family="ssl",job="certificate.issue",outcome="ok",service_name="ssl"';
  expect(text).toContain("# TYPE chom_job_duration_seconds histogram");
  expect(text).toContain(`chom_job_duration_seconds_bucket{${labels},le="1"} 1`);
  expect(text).toContain('chom_nats_reconnects_total{service_name="ssl"} 1');
  expect(text).toContain('chom_jobs_running{family="ssl",service_name="ssl"} 3');
  expect(text).toMatch(/^process_resident_memory_bytes\{service_name="ssl"\} \d{7,}$/m);
  // Neither a gauge that fails nor one that hangs keeps the others from being read.
  expect(text).not.toMatch(/^chom_(?:queue_depth|failed_jobs)\{/m);
});

test("a port that is taken is refused by name", async () => {
  const { address, condition } = await listening();
  const again = startProbes(address, condition, () => {});
  await expect(again).rejects.toMatchObject({ code: "invalid-config" });
});
