/** `scan.site`: looks through the files of a site for malware. */
import { job } from "@chom/shared/job/job";
import { script } from "@chom/shared/script/script";
import { ScanSiteInput } from "./gen/chom/scan/v1/events.ts";
import { scan } from "./scan.ts";

/** Reads only, as the site's own user. Failures: `tool-missing`, `invalid-config`. */
const scanFiles = script({
  file: new URL("./scripts/scan-files.sh", import.meta.url),
  timeoutMs: 900_000,
  variables: ({ systemUser }: { systemUser: string }) => ({ SYSTEM_USER: systemUser }),
  output: (fields) => ({
    filesCount: BigInt(fields.count("files")),
    suspiciousPaths: fields.base64("suspicious").toString("utf8").split("\n").filter(Boolean),
  }),
});

export const scanSite = job(scan, {
  name: "scan.site",
  input: ScanSiteInput,
  of: ({ siteId }) => siteId,
  site: ({ siteId }) => siteId,
  server: ({ serverId }) => serverId,
  started: "begin",
  done: "complete",
  failed: "fail",
  cancelled: "abandon",
  queue: "low",
  tries: 2,
  timeoutMs: 900_000,
  backoffMs: [300_000],
  exclusive: ({ siteId }) => [`site.${siteId}`],
  circuit: ({ serverId }) => serverId,

  work: ({ serverId, systemUser }, run) =>
    run.script("look through the files", scanFiles, serverId, { systemUser }),
});
