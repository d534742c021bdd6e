import { serve } from "@chom/shared/service/serve";
import { archiveRpc } from "./archive/archive-rpc.ts";
import { archiveTick } from "./archive/follow-events.ts";
import { alertsRpc } from "./alerts/alerts-rpc.ts";
import { checkAlerts } from "./alerts/check-alerts.ts";
import { anchorTick } from "./audit/anchors.ts";
import { auditRpc } from "./audit/audit-rpc.ts";
import { alertReaders, watchAlerts } from "./alerts/watch-alerts.ts";
import { jobChecks } from "./doctor/job-checks.ts";
import { logChecks } from "./doctor/log-checks.ts";
import { dispatchRpc } from "./dispatch-rpc.ts";
import { eventsRpc } from "./events-rpc.ts";
import { historyReaders, keepHistory } from "./history/keep-history.ts";
import { keepFlows } from "./flows/keep-flows.ts";
import { queuesRpc } from "./queues-rpc.ts";
import { jobsRpc } from "./jobs-rpc.ts";
import { overviewRpc } from "./overview/overview-rpc.ts";
import { throughput } from "./overview/throughput-projection.ts";
import { jobList } from "./projections.ts";
import { keepSchedules, scheduleReaders } from "./schedules/keep-schedules.ts";

await serve({
  name: "scheduler",
  migrations: new URL("../migrations", import.meta.url),
  settings: { ...historyReaders, ...alertReaders, ...scheduleReaders },
  async cast(app, settings) {
    const alerts = watchAlerts(app, settings);
    const history = await keepHistory(app, settings);
    const schedules = keepSchedules(app, settings, async () => void (await checkAlerts(app)));
    const flows = keepFlows(app);
    return {
      projections: [
        ...[jobList, throughput, alerts.projection],
        ...schedules.projections,
        ...flows.projections,
      ],
      reactors: [...schedules.reactors, ...flows.reactors],
      rpc: [
        jobsRpc(app),
        overviewRpc(app),
        queuesRpc(app),
        dispatchRpc(app),
        eventsRpc(app),
        alertsRpc(app),
        auditRpc(app),
        archiveRpc(app),
        ...schedules.rpc,
        ...flows.rpc,
      ],
      ticks: [
        anchorTick(app),
        archiveTick(app),
        ...history.ticks,
        ...alerts.ticks,
        ...schedules.ticks,
        ...flows.ticks,
      ],
      checks: (rebuild) => [...logChecks(app), ...jobChecks(app, rebuild)],
      close: history.close,
    };
  },
});
