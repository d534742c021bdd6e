/** How many certificates have how many days left, and which end soonest. */
import type {
  DaysLeftBucket,
  GetCertificateOverviewRequest,
  GetCertificateOverviewResponse,
} from "@chom/proto/chom/ssl/v1/ssl";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, count, eq, ne, type SQL, sql } from "drizzle-orm";
import { certificateList } from "./projections.ts";
import { messageOf } from "./rows.ts";
import { certificates } from "./tables.ts";

const dayMs = 86_400_000;
const bounds = [0, 7, 14, 30, 60] as const;
const soonestMax = 20;

/** The bucket of a row by its end: 0 has ended, `bounds.length` holds all the others. */
const bucketAt = (now: Date): SQL<number> => {
  const cases = bounds.map((days, at) => {
    const before = new Date(now.getTime() + days * dayMs).toISOString();
    return sql`when ${certificates.notAfter} < ${before}::timestamptz then ${at}::int`;
  });
  return sql<number>`case ${sql.join(cases, sql` `)} else ${bounds.length}::int end`;
};

/** Answers GetCertificateOverview. */
export async function certificateOverview(
  app: App,
  request: GetCertificateOverviewRequest,
  { tenant }: Caller,
): Promise<GetCertificateOverviewResponse> {
  const fields = fieldsOf(request);
  const position = fields.position();
  fields.done();
  await app.seen(certificateList.name, position);
  const mine = eq(certificates.tenant, tenant);
  const served = and(mine, ne(certificates.serial, ""));
  const [counts, without, soonest] = await Promise.all([
    app.db
      .select({ bucket: bucketAt(app.now()).as("bucket"), certificates: count() })
      .from(certificates)
      .where(served)
      .groupBy(sql`bucket`),
    app.db
      .select({ sites: count() })
      .from(certificates)
      .where(and(mine, eq(certificates.serial, ""))),
    app.db
      .select()
      .from(certificates)
      .where(served)
      .orderBy(asc(certificates.notAfter), asc(certificates.siteId))
      .limit(soonestMax),
  ]);
  const buckets = [...bounds, undefined].map((belowDays, at): DaysLeftBucket => {
    const found = counts.find((row) => row.bucket === at)?.certificates ?? 0;
    return { ...(belowDays === undefined ? {} : { belowDays }), certificates: BigInt(found) };
  });
  return {
    buckets,
    without: BigInt(without[0]?.sites ?? 0),
    soonest: soonest.map(messageOf),
  };
}
