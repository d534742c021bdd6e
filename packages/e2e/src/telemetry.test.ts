/** The story of a site as one trace over all services, and what they export meanwhile. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { metricTable } from "@chom/shared/telemetry/metric-table";
import { startTraces } from "@chom/shared/telemetry/start-traces";
import { parseTraceparent } from "@chom/shared/telemetry/trace";
import { currentTraceparent, inSpan } from "@chom/shared/telemetry/tracing";
import { serviceNames } from "@chom/stack/service-process";
import { vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KeptSpan, startSpanReceiver } from "./span-receiver.ts";
import { jobTimeoutMs, newId, startWorld, type World } from "./world.ts";

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: a trace of a real server's site: ${support.reason}`);

const domain = "traced.chom.test";

describe.skipIf(!support.ok)("telemetry of the story of a site", () => {
  let receiver: Awaited<ReturnType<typeof startSpanReceiver>>;
  let world: World;
  const stops: (() => unknown)[] = [];
  const ids = { siteId: "", serverId: "", provisionId: "", backupJobId: "" };
  let traceId = "";

  beforeAll(async () => {
    receiver = await startSpanReceiver();
    stops.push(receiver.stop);
    const traced = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_METRICS_EXPORTER: "none" };
    world = await startWorld({
      settings: Object.fromEntries(serviceNames.map((name) => [name, traced])),
    });
    stops.push(world.stop);
    const { vps, serverId } = await world.addServer();
    await world.stack.pebble.addAddress(domain, vps.address);
    ids.serverId = serverId;
    process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url;
    const identity = { "service.name": "caller", "service.namespace": "chom" } as const;
    const stopTraces = startTraces({ ...identity, "service.instance.id": "test" }, { ratio: 1 });
    try {
      await inSpan({ name: "story", kind: "server", parent: "" }, tell);
    } finally {
      await stopTraces();
      delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    }
  });
  afterAll(async () => {
    for (const stop of stops.toReversed()) await stop();
  });

  /** A site with its certificate, and a backup whose first attempt fails. */
  async function tell(): Promise<void> {
    traceId = parseTraceparent(currentTraceparent())?.traceId ?? "";
    const { siteId, jobId } = await world.clients.provisioning.provisionSite({
      requestId: newId("provision"),
      domain,
      serverId: ids.serverId,
      kind: SiteKind.STATIC,
      phpVersion: "",
      database: false,
      sslEnabled: true,
      reason: "",
      adminEmail: "",
    });
    Object.assign(ids, { siteId, provisionId: jobId });
    await world.feed.until("CertificateIssued", jobTimeoutMs, (data) => data["siteId"] === siteId);
    ids.backupJobId = newId("backup");
    const vault = join(world.stack.folder, "vault");
    renameSync(vault, `${vault}.away`);
    writeFileSync(vault, "no folder");
    await world.clients.dispatch.dispatchJob({
      requestId: ids.backupJobId,
      jobName: "backup.create",
      inputJson: JSON.stringify({ siteId, kind: "BACKUP_KIND_FILES" }),
      reason: "",
      options: JobOptions.fromPartial({ tries: 3, backoffMs: [200n] }),
    });
    for await (const { type } of world.clients.watch(ids.backupJobId)) {
      if (type !== "JobAttemptFailed") continue;
      rmSync(vault);
      renameSync(`${vault}.away`, vault);
    }
    await world.feed.until("BackupCompleted", jobTimeoutMs, (data) => data["siteId"] === siteId);
  }

  const ofStory = (): KeptSpan[] => receiver.spans.filter((span) => span.traceId === traceId);
  const named = (name: string) => ofStory().filter((span) => span.name === name);
  const parentOf = (span: KeptSpan) => ofStory().find(({ spanId }) => spanId === span.parentSpanId);

  test("all of it is one trace in which no parent is missing", async () => {
    await expect
      .poll(() => {
        const orphans = ofStory().filter((span) => span.parentSpanId !== "" && !parentOf(span));
        return { orphans: orphans.map(({ service, name }) => `${service}: ${name}`) };
      })
      .toEqual({ orphans: [] });
    await expect.poll(() => named("run backup.create").length).toBeGreaterThanOrEqual(2);
    const roots = ofStory().filter(({ parentSpanId }) => parentSpanId === "");
    expect(roots.map(({ name }) => name)).toEqual(["story"]);
    const services = new Set(ofStory().map(({ service }) => service));
    expect([...services].toSorted()).toEqual(["caller", ...serviceNames].toSorted());
  });

  test("the event carries the trace into the next service, whose job is a child of its reaction", () => {
    const [queued] = named("queue certificate.issue");
    const reaction = queued && parentOf(queued);
    expect(reaction).toMatchObject({ service: "ssl", name: "react sites" });
    const cause = reaction && parentOf(reaction);
    expect(cause).toMatchObject({ service: "provisioning", name: "run site.provision" });
    const [run] = named("run certificate.issue");
    expect(run && parentOf(run)).toBe(queued);
    expect(named("acme post").length).toBeGreaterThan(0);
  });

  test("an attempt has its steps, a step its script, and a script its connection below it", () => {
    const scripts = ofStory().filter(
      ({ name }) => name.startsWith("ssh ") && name !== "ssh connect",
    );
    expect(scripts.length).toBeGreaterThan(5);
    const inSteps = scripts.filter((span) => parentOf(span)?.name.startsWith("step "));
    expect(inSteps.length).toBeGreaterThan(3);
    expect(
      inSteps
        .map((span) => parentOf(span))
        .every((step) => step && parentOf(step)?.name.startsWith("run ")),
    ).toBe(true);
    const [connected] = named("ssh connect");
    expect(connected && parentOf(connected)?.name).toMatch(/^ssh /);
  });

  test("the second attempt is in the same trace and linked to the first, which failed", () => {
    const runs = named("run backup.create");
    const first = runs.find(({ attributes }) => attributes["chom.job.outcome"] === "retrying");
    const second = runs.find(({ attributes }) => attributes["chom.job.outcome"] === "completed");
    expect(first).toMatchObject({ isError: true, attributes: { "chom.job.attempt": "1" } });
    expect(second?.attributes["chom.job.attempt"]).toBe("2");
    expect(second?.links.map(({ spanId }) => spanId)).toContain(first?.spanId);
    expect(second?.parentSpanId).toBe(first?.parentSpanId);
  });

  test("read models belong to the trace or are linked to it", () => {
    const projected = receiver.spans.filter(
      ({ name, links, ...span }) =>
        name.startsWith("project ") &&
        (span.traceId === traceId || links.some((link) => link.traceId === traceId)),
    );
    const models = new Set(projected.map(({ attributes }) => attributes["chom.projection"]));
    expect([...models]).toEqual(expect.arrayContaining(["jobs", "sites", "backup-list"]));
  });

  test("no span tells a domain, an address, a key or a message", () => {
    const told = JSON.stringify(receiver.spans);
    expect(receiver.spans.length).toBeGreaterThan(100);
    expect(told).not.toContain(domain);
    expect(told).not.toMatch(/ssh-ed25519|PRIVATE KEY|Bearer|127\.0\.0\.1:\d|10\.\d+\.\d+\.\d+/);
  });

  /** Where a service answers Prometheus, as its log says. */
  function metricsAddress(name: (typeof serviceNames)[number]): string {
    const log = readFileSync(world.stack.services[name].logFile, "utf8");
    const line = log
      .split("\n")
      .findLast((each) => each.includes("probes and metrics are answered"));
    return (JSON.parse(line ?? "{}") as { address: string }).address;
  }

  test("each service is ready, and exports what the table says under its types", async () => {
    const kinds = metricTable as Readonly<Record<string, { readonly kind: string }>>;
    const seen = new Set<string>();
    for (const name of serviceNames) {
      const base = `http://${metricsAddress(name)}`;
      await expect.poll(async () => (await fetch(`${base}/readyz`)).status).toBe(200);
      const text = await (await fetch(`${base}/metrics`)).text();
      for (const [, metric = "", kind] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
        if (metric === "target_info") continue;
        expect(kinds[metric]?.kind, `${name} exports ${metric}`).toBe(kind);
        if (new RegExp(`^${metric}(?:_count)?\\{`, "m").test(text)) seen.add(metric);
      }
      // Cardinality: no label names a site, a server or a job.
      for (const id of Object.values(ids)) expect(text).not.toContain(id);
      expect(text).not.toContain(domain);
    }
    // What did not happen here has no sample: nothing overdue, no wait, nothing in a queue now.
    const rare = [
      "chom_nats_reconnects_total",
      "chom_job_wait_seconds",
      "chom_job_overdue_ratio",
      "chom_alerts_active",
    ];
    const idle = ["chom_queue_depth", "chom_queue_oldest_ready_seconds"];
    // The doctor's first round comes five minutes after the start.
    const later = ["chom_doctor_findings", "chom_doctor_timestamp_seconds"];
    const missing = Object.keys(metricTable).filter((name) => !seen.has(name));
    expect(missing.filter((name) => ![...rare, ...idle, ...later].includes(name))).toEqual([]);
  });
});
