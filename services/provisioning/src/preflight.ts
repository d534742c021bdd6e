/** Decides from a look at the server whether a site can be put there. Pure. */
import type { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { failureOf } from "@chom/shared/failure/failure";
import type { ServerReport } from "./server-scripts.ts";
import { needsPhp } from "./site-kind.ts";

/** Less room than this is not worth beginning: a site, its database and its logs must fit. */
const neededBytes = 256 * 1024 * 1024;
const neededInodes = 10_000;

export type Wanted = {
  readonly domain: string;
  readonly kind: SiteKind;
  /** Empty: the newest that is installed. */
  readonly phpVersion: string;
  readonly database: boolean;
};

export type Plan = { readonly phpVersion: string; readonly ipv6: boolean };

function phpFor({ kind, phpVersion }: Wanted, installed: readonly string[]): string {
  if (!needsPhp(kind)) return "";
  const chosen = phpVersion || installed.at(-1);
  if (chosen && installed.includes(chosen)) return chosen;
  const known = installed.length > 0 ? installed.join(", ") : "none";
  throw failureOf("invalid-config", `PHP ${chosen ?? ""} is not installed; installed: ${known}`);
}

function checkWebServer({ nginx, port80, vhostConflict }: ServerReport, domain: string): void {
  if (nginx === "absent") throw failureOf("tool-missing", "nginx is not installed");
  if (port80 !== "nginx" && port80 !== "free") {
    throw failureOf("port-conflict", `port 80 belongs to ${port80}`);
  }
  if (nginx === "broken") {
    throw failureOf("nginx-foreign-config", "nginx refuses its configuration as it is");
  }
  if (vhostConflict) throw failureOf("vhost-conflict", `${domain} is served by ${vhostConflict}`);
}

/**
 * What will be done, or the failure: `unsupported-type`, `invalid-config`, `port-conflict` and `vhost-conflict`
 * are permanent, missing programs and a broken nginx wait for an operator, a full disk is waited for.
 */
export function planSite(report: ServerReport, wanted: Wanted): Plan {
  if (!/^(?:debian|ubuntu) /.test(report.os)) {
    throw failureOf("unsupported-type", `sites are put on Debian and Ubuntu, this is ${report.os}`);
  }
  checkWebServer(report, wanted.domain);
  const phpVersion = phpFor(wanted, report.phpVersions);
  if (wanted.database && report.database === "absent") {
    throw failureOf("tool-missing", "MariaDB is not installed");
  }
  if (wanted.database && report.database === "down") {
    throw failureOf("service-down", "MariaDB does not answer");
  }
  if (report.freeBytes < neededBytes) {
    throw failureOf("disk-full", `${report.freeBytes} bytes are free, ${neededBytes} are needed`);
  }
  if (report.freeInodes < neededInodes) {
    throw failureOf("inodes-full", `${report.freeInodes} inodes are free`);
  }
  return { phpVersion, ipv6: report.ipv6 };
}
