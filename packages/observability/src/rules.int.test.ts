import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureHostProgram } from "@chom/stack/apt";
import { runCommand } from "@chom/stack/run-command";
import { toStderr } from "@chom/stack/progress";
import { expect, onTestFinished, test } from "vitest";
import { dashboards } from "./dashboards.ts";
import { deployed } from "./deployed.ts";
import { expressionsOf } from "./panels.ts";
import { ruleTests } from "./rules.ts";
import { toYaml } from "./yaml.ts";

async function promtool(...args: string[]) {
  const program = await ensureHostProgram("promtool", "prometheus", toStderr);
  return runCommand(program, args, { timeoutMs: 110_000 });
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "chom-rules-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const casesIn = (made: string, rules: string): string[] =>
  ruleTests(rules).map((cases, index) => {
    const path = join(made, `cases-${index}.yml`);
    writeFileSync(path, toYaml(cases));
    return path;
  });

test("each alert fires in its firing case and is silent in its silent one, by Prometheus' own evaluation", async () => {
  const rules = deployed.find(({ path }) => path.endsWith("rules.yml"))?.path ?? "";
  const cases = casesIn(folder(), rules);
  expect(cases.length).toBeGreaterThan(2);
  const { code, stdout, stderr } = await promtool("test", "rules", ...cases);
  expect(`${stdout}${stderr}`).not.toContain("FAILED");
  expect(code).toBe(0);
}, 120_000);

test("a rule that is loosened is noticed: its silent case fires", async () => {
  const made = folder();
  const rules = join(made, "rules.yml");
  const path = deployed.find((file) => file.path.endsWith("rules.yml"))?.path ?? "";
  const loose = readFileSync(path, "utf8").replace(
    "max(chom_failed_jobs) > 10",
    "max(chom_failed_jobs) > 9",
  );
  expect(loose).toContain("> 9");
  writeFileSync(rules, loose);
  const { code, stdout, stderr } = await promtool("test", "rules", ...casesIn(made, rules));
  expect(code).not.toBe(0);
  expect(`${stdout}${stderr}`).toContain("ChomFailedJobs");
}, 120_000);

test("each query of a dashboard is one that Prometheus understands", async () => {
  const rules = dashboards.flatMap(expressionsOf).map((expr, index) => ({
    record: `chom:query:${index}`,
    // Grafana puts its own window there.
    expr: expr.replaceAll("$__rate_interval", "5m"),
  }));
  expect(rules.length).toBeGreaterThan(40);
  const file = join(folder(), "queries.yml");
  writeFileSync(file, toYaml({ groups: [{ name: "queries", rules }] }));
  const { code, stdout, stderr } = await promtool("check", "rules", file);
  expect(code, `${stdout}${stderr}`).toBe(0);
}, 120_000);
