/** Which errors of Postgres are about the moment and not about the statement. */
import { Failure } from "../failure/failure.ts";

/** SQLSTATE classes: connection, rollback, resources, object in use, operator intervention, system. */
const passing = /^(08|40|53|55|57|58)/;
/** What the driver itself says when a connection is lost or was never made. */
const connection = /^(CONNECT|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_)/;

/** True when the same statement may well succeed later: connection lost, deadlock, out of resources, shutdown. */
export function isPassing(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 16; at = at.cause, depth += 1) {
    if (at instanceof Failure) return at.kind === "transient" || at.code === "key-missing";
    const code: unknown = "code" in at ? at.code : undefined;
    if (typeof code === "string" && (passing.test(code) || connection.test(code))) return true;
  }
  return false;
}
