import { serve } from "@chom/shared/service/serve";
import { dispatchRpc } from "./dispatch-rpc.ts";
import { eventsRpc } from "./events-rpc.ts";
import { jobsRpc } from "./jobs-rpc.ts";
import { jobList } from "./projections.ts";

await serve({
  name: "scheduler",
  migrations: new URL("../migrations", import.meta.url),
  cast: (app) => ({
    projections: [jobList],
    rpc: [jobsRpc(app), dispatchRpc(app), eventsRpc(app)],
  }),
});
