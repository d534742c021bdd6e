/** Every page and every form. */
import type { Route } from "../web/page.ts";
import { alertsPage } from "./alerts.ts";
import { actOnFailed, failedPage } from "./failed.ts";
import { actOnFlow, flowsPage } from "./flows.ts";
import { actOnJob, jobPage } from "./job.ts";
import { jobsPage } from "./jobs.ts";
import { overview } from "./overview.ts";
import { actOnSchedule, schedulePage, schedulesPage } from "./schedules.ts";
import { serverPage, serversPage } from "./servers.ts";
import { sitePage } from "./site.ts";
import { sitesPage } from "./sites.ts";

export const routes: readonly Route[] = [
  { path: "/", show: overview },
  { path: "/jobs", show: jobsPage },
  { path: "/jobs/:id", show: jobPage },
  { path: "/jobs/:id", act: actOnJob },
  { path: "/failed", show: failedPage },
  { path: "/failed", act: actOnFailed },
  { path: "/flows", show: flowsPage },
  { path: "/flows", act: actOnFlow },
  { path: "/schedules", show: schedulesPage },
  { path: "/schedules/:id", show: schedulePage },
  { path: "/schedules/:id", act: actOnSchedule },
  { path: "/sites", show: sitesPage },
  { path: "/sites/:id", show: sitePage },
  { path: "/servers", show: serversPage },
  { path: "/servers/:id", show: serverPage },
  { path: "/alerts", show: alertsPage },
];
