/** What the credentials service shows of servers and their keys. */
import type { App } from "@chom/shared/service/app";
import { count as counted, gauge, sharedReading } from "@chom/shared/telemetry/metrics";
import { and, count, countDistinct, eq, lt, min, ne } from "drizzle-orm";
import { serverKeys, servers } from "./tables.ts";

type Parts = Pick<App, "db" | "now">;

const maxAgeMs = 60_000;
/** A retirement that waits for a busy server may be this late. */
const retireGraceMs = 3_600_000;

async function look({ db, now }: Parts) {
  const at = now().getTime();
  const statuses = await db
    .select({ status: servers.status, value: count() })
    .from(servers)
    .groupBy(servers.status);
  const [oldest] = await db
    .select({ at: min(serverKeys.createdAt) })
    .from(serverKeys)
    .where(eq(serverKeys.status, "current"));
  const [late] = await db
    .select({ value: countDistinct(serverKeys.serverId) })
    .from(serverKeys)
    .where(
      and(
        ne(serverKeys.status, "current"),
        ne(serverKeys.status, "retired"),
        lt(serverKeys.retireAt, new Date(at - retireGraceMs)),
      ),
    );
  const oldestSeconds = oldest?.at ? Math.max(0, at - oldest.at.getTime()) / 1_000 : 0;
  return { statuses, oldestSeconds, late: late?.value ?? 0 };
}

/** What the signer may refuse with; counted from nothing, so that the first one is a change that can be seen. */
const refusals = ["signer-refused", "too-many-requests"];

/** Declares the gauges and the counter of refusals. */
export function showKeys(parts: Parts): void {
  const found = sharedReading(maxAgeMs, () => look(parts));
  gauge("chom_servers", async () =>
    (await found()).statuses.map(({ status, value }) => ({ value, labels: { status } })),
  );
  gauge("chom_server_key_oldest_seconds", async () => [
    { value: (await found()).oldestSeconds, labels: {} },
  ]);
  gauge("chom_servers_overlapping_keys", async () => [{ value: (await found()).late, labels: {} }]);
  for (const code of refusals) counted("chom_signer_denials_total", { code }, 0);
}
