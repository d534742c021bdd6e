import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { metricTable } from "@chom/shared/telemetry/metric-table";
import { expect, test } from "vitest";
import { burnRecordings } from "./burn-rates.ts";
import { dashboards } from "./dashboards.ts";
import { deployed } from "./deployed.ts";
import { expressionsOf, grafanaOf } from "./panels.ts";
import { alerts } from "./rules.ts";

const runbooks = fileURLToPath(new URL("../../../docs/runbooks/", import.meta.url));
const recorded = new Set(burnRecordings.map(({ record }) => record));

/** Names of metrics in a query: words with the prefix of ours, without what a histogram adds. */
const namesIn = (expr: string): string[] =>
  [...expr.matchAll(/\b(?:chom[_:]|process_|nodejs_)[a-z0-9_:]*/g)].map(([name]) => name);

function isExported(name: string): boolean {
  if (recorded.has(name) || Object.hasOwn(metricTable, name)) return true;
  const base = name.replace(/_(?:bucket|count|sum)$/, "");
  const rows = metricTable as Readonly<Record<string, { readonly kind: string }>>;
  return base !== name && rows[base]?.kind === "histogram";
}

const labelsOf = (name: string): readonly string[] => {
  const rows = metricTable as Readonly<Record<string, { readonly labels: readonly string[] }>>;
  return rows[name.replace(/_(?:bucket|count|sum)$/, "")]?.labels ?? [];
};

test("rules and dashboards ask only for metrics that the services export", () => {
  const asked = [
    ...alerts.map(({ expr }) => expr),
    ...burnRecordings.map(({ expr }) => expr),
    ...dashboards.flatMap(expressionsOf),
  ].flatMap(namesIn);
  expect(asked.length).toBeGreaterThan(60);
  expect([...new Set(asked)].filter((name) => !isExported(name))).toEqual([]);
});

test("a metric that nobody exports would be found", () => {
  expect(isExported("chom_job_duration_seconds_bucket")).toBe(true);
  expect(isExported("chom_ready_bucket")).toBe(false);
  expect(
    namesIn('sum(rate(chom_gone_total{a="b"}[5m]))').filter((name) => !isExported(name)),
  ).toEqual(["chom_gone_total"]);
});

test("the cases of a rule give its metrics labels that the services give them", () => {
  const added = new Set(["service_name", "instance", "le"]);
  for (const { name, firing, silent } of alerts) {
    for (const series of [firing.series, silent.series].flatMap(Object.keys)) {
      const [metric = ""] = series.split("{");
      const labels = [...series.matchAll(/(\w+)="/g)].map(([, label]) => label ?? "");
      const strange = labels.filter(
        (label) => !added.has(label) && !labelsOf(metric).includes(label),
      );
      expect(strange, `${name}: ${series}`).toEqual([]);
    }
  }
});

test("each alert has a name of its own, a firing and a silent case, and a runbook that tells five things", () => {
  expect(new Set(alerts.map(({ name }) => name)).size).toBe(alerts.length);
  for (const { name, firing, silent, runbook } of alerts) {
    expect(Object.keys(firing.series), name).not.toEqual([]);
    expect(Object.keys(silent.series), name).not.toEqual([]);
    const path = `${runbooks}${runbook}.md`;
    expect(existsSync(path), `${name} needs ${path}`).toBe(true);
    const text = readFileSync(path, "utf8");
    for (const part of ["## Symptom", "## What it means", "## Look", "## Act", "## Over when"]) {
      expect(text, `${runbook} lacks ${part}`).toContain(part);
    }
    expect(text, runbook).toContain(name);
  }
});

test("what is deployed is what the sources say", () => {
  for (const { path, content } of deployed) {
    expect(existsSync(path) ? readFileSync(path, "utf8") : "absent", path).toBe(content);
  }
  const folder = fileURLToPath(
    new URL("../../../deploy/observability/dashboards", import.meta.url),
  );
  expect(readdirSync(folder).toSorted()).toEqual(
    dashboards.map(({ name }) => `${name}.json`).toSorted(),
  );
});

test("each dashboard has panels with distinct ids and places that do not overlap", () => {
  for (const dashboard of dashboards) {
    const { panels, uid, schemaVersion } = grafanaOf(dashboard);
    expect(uid).toMatch(/^[a-z0-9-]{1,40}$/);
    expect(schemaVersion).toBe(39);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size, dashboard.name).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos }) => gridPos.x + gridPos.w))).toBeLessThanOrEqual(24);
    for (const { title, targets } of panels) {
      expect(targets.length, title).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
  }
});
