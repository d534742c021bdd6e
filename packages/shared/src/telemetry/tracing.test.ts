import { InMemorySpanExporter } from "@opentelemetry/sdk-trace";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { failureOf } from "../failure/failure.ts";
import { createLogger } from "./logger.ts";
import { startTraces } from "./start-traces.ts";
import { parseTraceparent } from "./trace.ts";
import { currentTraceparent, inSpan, isTracing, noteFacts, noteFailure } from "./tracing.ts";

const identity = {
  "service.name": "ssl",
  "service.namespace": "chom",
  "service.instance.id": "host.1",
} as const;
const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

test("without a tracer the work runs and nothing is known of a trace", async () => {
  expect(isTracing()).toBe(false);
  expect(await inSpan({ name: "call", parent: caller }, async () => currentTraceparent())).toBe("");
});

describe("with a tracer", () => {
  const exporter = new InMemorySpanExporter();
  let stop: () => Promise<void>;
  // Stopping sends what is left, and an exporter that is shut down forgets: so it is read on the way.
  const sent: ReturnType<InMemorySpanExporter["getFinishedSpans"]> = [];
  beforeEach(() => {
    sent.length = 0;
    const keep: Pick<InMemorySpanExporter, "export" | "shutdown" | "forceFlush"> = {
      export: (spans, done) => {
        sent.push(...spans);
        exporter.export(spans, done);
      },
      shutdown: async () => {},
      forceFlush: async () => {},
    };
    stop = startTraces(identity, { ratio: 1, exporter: keep });
  });
  afterEach(() => stop());

  test("a span is a child of its caller, and what is under way is its child in turn", async () => {
    const inner = await inSpan({ name: "call", kind: "server", parent: caller }, () =>
      inSpan({ name: "step", facts: { "chom.step": "copy" } }, async () => {
        noteFacts({ "chom.job.outcome": "completed" });
        return currentTraceparent();
      }),
    );
    await stop();
    const [step, call] = sent;
    expect(parseTraceparent(inner)?.traceId).toBe("0af7651916cd43dd8448eb211c80319c");
    expect(call?.parentSpanContext?.spanId).toBe("b7ad6b7169203331");
    expect(step?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
    expect(step?.attributes).toEqual({ "chom.step": "copy", "chom.job.outcome": "completed" });
  });

  test("a failure marks its span with its code, and never with its words", async () => {
    const broken = inSpan({ name: "step", parent: "" }, async () => {
      throw failureOf("disk-full", "shop.example.com has no room");
    });
    await expect(broken).rejects.toMatchObject({ code: "disk-full" });
    await inSpan({ name: "attempt", parent: "" }, async () => noteFailure("worker-lost"));
    await stop();
    expect(sent.map(({ status }) => status.message)).toEqual(["disk-full", "worker-lost"]);
    expect(JSON.stringify(sent.map(({ status, events }) => [status, events]))).not.toContain(
      "shop",
    );
  });

  test("a caller whose trace is not kept has none kept here, but it is handed on", async () => {
    const unsampled = caller.replace(/01$/, "00");
    const handedOn = await inSpan({ name: "call", parent: unsampled }, async () =>
      currentTraceparent(),
    );
    await stop();
    expect(sent).toEqual([]);
    expect(parseTraceparent(handedOn)).toMatchObject({ sampled: false });
    expect(handedOn.slice(3, 35)).toBe(unsampled.slice(3, 35));
  });

  test("a later attempt is linked to the earlier one; what is no traceparent is no link", async () => {
    await inSpan({ name: "attempt", parent: "", links: [caller, "", "nonsense"] }, async () => {});
    await stop();
    expect(sent[0]?.links.map(({ context }) => context.spanId)).toEqual(["b7ad6b7169203331"]);
  });

  test("a part of nothing is no trace of its own, and its work is done all the same", async () => {
    expect(await inSpan({ name: "ssh connect", kind: "client" }, async () => "done")).toBe("done");
    await stop();
    expect(sent).toEqual([]);
  });

  test("what is logged within a span carries its ids", async () => {
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const logger = createLogger({ service: "ssl", level: "info" }, destination);
    await inSpan({ name: "call", parent: caller }, async () => logger.info("inside"));
    logger.info("outside");
    expect(JSON.parse(lines[0] ?? "{}")).toMatchObject({
      trace_id: "0af7651916cd43dd8448eb211c80319c",
      span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(JSON.parse(lines[1] ?? "{}")).not.toHaveProperty("trace_id");
  });
});
