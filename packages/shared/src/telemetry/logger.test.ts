import { expect, test } from "vitest";
import { Failure } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import { createLogger } from "./logger.ts";

function logged(use: (logger: ReturnType<typeof createLogger>) => void): Record<string, unknown>[] {
  const lines: string[] = [];
  use(createLogger({ service: "ssl", level: "info" }, { write: (line) => void lines.push(line) }));
  return lines.map((line) => JSON.parse(line));
}

const canary = "AKIAIOSFODNN7EXAMPLE";

test("an entry is one JSON line with service, level and time", () => {
  const [entry] = logged((logger) => logger.info({ jobId: "j-1", bytes: 5n }, "job started"));
  expect(entry).toMatchObject({ service: "ssl", level: "info", jobId: "j-1", bytes: "5" });
  expect(entry?.["msg"]).toBe("job started");
  expect(new Date(String(entry?.["time"])).getTime()).toBeGreaterThan(0);
});

test("no secret reaches the log by message, field, error, cause, binding or buffer", () => {
  const lines = logged((logger) => {
    logger.info(`key ${canary}`);
    logger.info("key %s", canary);
    logger.info({ token: new Secret(canary), deep: { list: [canary] }, raw: Buffer.from(canary) });
    const cause = new Error(`cause ${canary}`);
    logger.error({ err: new Failure("transient", "unexpected", `bad ${canary}`, { cause }) });
    logger.child({ hint: canary }).warn("child");
  });
  expect(lines).toHaveLength(5);
  expect(JSON.stringify(lines)).not.toContain("IOSFODNN7");
});

test("an error keeps its kind, code, stack and cause", () => {
  const [entry] = logged((logger) => {
    const cause = new Error("socket closed");
    logger.error({ err: new Failure("transient", "repo-unavailable", "no answer", { cause }) });
  });
  expect(entry?.["err"]).toMatchObject({
    kind: "transient",
    code: "repo-unavailable",
    message: "no answer",
    cause: { message: "socket closed" },
  });
  expect(JSON.stringify(entry?.["err"])).toContain("logger.test.ts");
});

test("entries below the level are left out", () => {
  expect(logged((logger) => logger.debug("detail"))).toEqual([]);
});
