/** AlertsService: the alerts of the caller's tenant, and measuring queues against a limit. */
import {
  Alert,
  AlertsServiceService,
  type ListAlertsRequest,
  type ListAlertsResponse,
  type MonitorQueuesRequest,
  type MonitorQueuesResponse,
} from "@chom/proto/chom/scheduler/v1/alerts";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { families, queues } from "@chom/shared/topology/names";
import { and, desc, eq, lt, or } from "drizzle-orm";
import { type AlertRow, alerts } from "./alert-tables.ts";
import { record } from "./check-alerts.ts";
import { busyOf, sizesOf } from "./queue-sizes.ts";

const queueMax = 20;
const sizeMax = 1_000_000;
const sizeDefault = 1_000;
const queuePattern = new RegExp(`^(?:(?:${families.join("|")})\\.)?(?:${queues.join("|")})$`);

export const alertsRpc = (app: App): RpcService => ({
  definition: AlertsServiceService,
  implementation: {
    listAlerts: unary((request: ListAlertsRequest, caller) => listAlerts(app, request, caller)),
    monitorQueues: unary((request: MonitorQueuesRequest, caller) => monitor(app, request, caller)),
  },
});

const messageOf = (row: AlertRow): Alert =>
  Alert.fromPartial({ ...row, resolvedAt: row.resolvedAt ?? undefined });

async function listAlerts(
  app: App,
  request: ListAlertsRequest,
  { tenant }: Caller,
): Promise<ListAlertsResponse> {
  const fields = fieldsOf(request);
  const rule = fields.optionalId("rule");
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  const { includeResolved } = request;
  const scope = { tenant, list: "alerts", filter: { rule, includeResolved } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen("alerts", position);
  const older =
    after &&
    or(
      lt(alerts.raisedAt, after.createdAt),
      and(eq(alerts.raisedAt, after.createdAt), lt(alerts.alertId, after.id)),
    );
  const found = await app.db
    .select()
    .from(alerts)
    .where(
      and(
        eq(alerts.tenant, tenant),
        includeResolved ? undefined : eq(alerts.active, true),
        rule === "" ? undefined : eq(alerts.rule, rule),
        older,
      ),
    )
    .orderBy(desc(alerts.raisedAt), desc(alerts.alertId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ raisedAt, alertId }) =>
    encodeToken(app.sealer, scope, { createdAt: raisedAt, id: alertId }),
  );
  return { alerts: rows.map(messageOf), nextPageToken };
}

async function monitor(
  app: App,
  request: MonitorQueuesRequest,
  { tenant, actor }: Caller,
): Promise<MonitorQueuesResponse> {
  const fields = fieldsOf(request);
  const wanted = fields.texts("queues", { max: 64, items: { min: 1, max: queueMax } });
  if (wanted.some((queue) => !queuePattern.test(queue))) {
    fields.refuse("queues", "must each be high, default or low, with or without a family before");
  }
  const max = fields.int("max", { min: 1, max: sizeMax, default: sizeDefault });
  fields.done();
  const found = [];
  for (const queue of new Set(wanted)) {
    const sizes = await sizesOf(app, tenant, queue);
    const edge = await record(app, busyOf(tenant, sizes, max), actor);
    const { size, pending, delayed, reserved } = sizes;
    const counts = [size, pending, delayed, reserved].map(BigInt);
    const [all = 0n, ready = 0n, later = 0n, taken = 0n] = counts;
    found.push({
      ...{ queue, size: all, pending: ready, delayed: later, reserved: taken },
      ...{ busy: size >= max, edge },
    });
  }
  return { queues: found };
}
