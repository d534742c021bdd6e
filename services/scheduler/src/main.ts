import { serve } from "@chom/shared/service/serve";
import { alertsRpc } from "./alerts/alerts-rpc.ts";
import { alertReaders, watchAlerts } from "./alerts/watch-alerts.ts";
import { dispatchRpc } from "./dispatch-rpc.ts";
import { eventsRpc } from "./events-rpc.ts";
import { historyReaders, keepHistory } from "./history/keep-history.ts";
import { jobsRpc } from "./jobs-rpc.ts";
import { jobList } from "./projections.ts";

await serve({
  name: "scheduler",
  migrations: new URL("../migrations", import.meta.url),
  settings: { ...historyReaders, ...alertReaders },
  async cast(app, settings) {
    const alerts = watchAlerts(app, settings);
    const history = await keepHistory(app, settings);
    return {
      projections: [jobList, alerts.projection],
      rpc: [jobsRpc(app), dispatchRpc(app), eventsRpc(app), alertsRpc(app)],
      ticks: [...history.ticks, ...alerts.ticks],
      close: history.close,
    };
  },
});
