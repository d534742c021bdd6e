/** The files in deploy/observability and what must be in them. */
import { fileURLToPath } from "node:url";
import { dashboards } from "./dashboards.ts";
import { grafanaOf } from "./panels.ts";
import { ruleFile } from "./rules.ts";
import { toYaml } from "./yaml.ts";

const folder = fileURLToPath(new URL("../../../deploy/observability/", import.meta.url));
const notice =
  "# Made by `node packages/observability/src/generate.ts`; change its sources instead.\n";

export const deployed: readonly { readonly path: string; readonly content: string }[] = [
  { path: `${folder}rules.yml`, content: notice + toYaml(ruleFile) },
  ...dashboards.map((dashboard) => ({
    path: `${folder}dashboards/${dashboard.name}.json`,
    content: `${JSON.stringify(grafanaOf(dashboard), null, 2)}\n`,
  })),
];
