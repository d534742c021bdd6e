/** What is seen: the last scan of each site. */
import type { Transaction } from "@chom/shared/projection/database";
import { type ProjectedMeta, projection } from "@chom/shared/projection/projection";
import { scanEvents } from "./scan.ts";
import { scans } from "./tables.ts";

type Row = { status: string; filesCount?: bigint; suspiciousPaths?: string[] };

const put = (row: Row, { tenant, id, time }: ProjectedMeta, tx: Transaction) => {
  const set = { filesCount: 0n, suspiciousPaths: [], ...row, scannedAt: time };
  return tx
    .insert(scans)
    .values({ tenant, siteId: id, ...set })
    .onConflictDoUpdate({ target: [scans.tenant, scans.siteId], set });
};

export const scanList = projection({
  name: "scan-list",
  source: { stream: "EVENTS", aggregate: "scan" },
  rebuild: { tables: [scans] },
  from: scanEvents,
  on: {
    ScanStarted: (_, meta, tx) => put({ status: "running" }, meta, tx),
    ScanCompleted: ({ filesCount, suspiciousPaths }, meta, tx) => {
      const status = suspiciousPaths.length === 0 ? "clean" : "suspicious";
      return put({ status, filesCount, suspiciousPaths }, meta, tx);
    },
    ScanFailed: (_, meta, tx) => put({ status: "failed" }, meta, tx),
  },
});
