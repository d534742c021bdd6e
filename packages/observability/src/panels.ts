/** Grafana dashboards as data: rows of panels, each with its queries. */

type Query = { readonly expr: string; readonly legend: string };
export type Panel = {
  readonly title: string;
  /** Grafana's unit, like `s`, `bytes`, `percentunit`, `short`. */
  readonly unit: string;
  /** `stat` shows the last value only. */
  readonly type: "timeseries" | "stat";
  readonly queries: readonly Query[];
};
export type Dashboard = {
  /** File name and uid. */
  readonly name: string;
  readonly title: string;
  readonly panels: readonly Panel[];
};

export const stat = (title: string, expr: string, unit = "short"): Panel => ({
  ...{ title, unit, type: "stat" },
  queries: [{ expr, legend: "" }],
});

export const lines = (title: string, unit: string, ...queries: [string, string][]): Panel => ({
  ...{ title, unit, type: "timeseries" },
  queries: queries.map(([expr, legend]) => ({ expr, legend })),
});

/** Median and 95th percentile of a histogram, by labels. */
export function percentiles(title: string, histogram: string, by: string): Panel {
  const rate = `sum by (le, ${by}) (rate(${histogram}_bucket[$__rate_interval]))`;
  return lines(
    title,
    "s",
    [`histogram_quantile(0.5, ${rate})`, `p50 {{${by}}}`],
    [`histogram_quantile(0.95, ${rate})`, `p95 {{${by}}}`],
  );
}

export const expressionsOf = ({ panels }: Dashboard): string[] =>
  panels.flatMap(({ queries }) => queries.map(({ expr }) => expr));

const columns = 24;
const sizes = { stat: { w: 6, h: 4 }, timeseries: { w: 12, h: 8 } } as const;
// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana, not of ours.
const datasource = { type: "prometheus", uid: "${datasource}" } as const;

/** Places panels from left to right, a new line when one does not fit. */
function placed(panels: readonly Panel[]) {
  let x = 0;
  let y = 0;
  let height = 0;
  return panels.map((panel) => {
    const { w, h } = sizes[panel.type];
    if (x + w > columns) {
      x = 0;
      y += height;
      height = 0;
    }
    const gridPos = { x, y, w, h };
    x += w;
    height = Math.max(height, h);
    return { panel, gridPos };
  });
}

/** The dashboard as Grafana imports it (schema 39, Grafana 10 and newer). */
export const grafanaOf = ({ name, title, panels }: Dashboard) => ({
  uid: `chom-${name}`,
  title: `CHOM: ${title}`,
  tags: ["chom"],
  schemaVersion: 39,
  version: 1,
  editable: true,
  refresh: "30s",
  time: { from: "now-6h", to: "now" },
  templating: {
    list: [{ name: "datasource", label: "Prometheus", type: "datasource", query: "prometheus" }],
  },
  panels: placed(panels).map(({ panel, gridPos }, index) => ({
    id: index + 1,
    type: panel.type,
    title: panel.title,
    gridPos,
    datasource,
    fieldConfig: { defaults: { unit: panel.unit }, overrides: [] },
    targets: panel.queries.map(({ expr, legend }, at) => ({
      refId: String.fromCharCode(65 + at),
      datasource,
      expr,
      legendFormat: legend,
    })),
  })),
});
