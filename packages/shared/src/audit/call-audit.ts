/** What the audit says about calls: who asked for what before it is done, how it ended, and every refusal. */
import { isId } from "../aggregate/id.ts";
import type { Failure } from "../failure/failure.ts";
import type { AuditLog } from "./audit-log.ts";
import type { AuditFacts } from "./chain.ts";

type Who = { readonly tenant: string; readonly actor: string };

export type CallAudit = {
  /**
   * Before the work. A call that may change something is written down first: without an audit nothing is changed.
   * Answers what to tell when the call ended.
   */
  begin(path: string, request: unknown, who: Who): Promise<(failure?: Failure) => void>;
  /** Nobody, or somebody without the right, was turned away. */
  refused(path: string, request: unknown, who: Who | undefined, failure: Failure): void;
};

export type CallAuditParts = {
  readonly log: AuditLog;
  readonly service: string;
  /** Permission by method path. */
  readonly permissions: Readonly<Record<string, string>>;
  /** Names of fields whose values must not be shown. */
  readonly sensitive: readonly string[];
  now(): Date;
  newId(): string;
};

/** Refusals told per minute and tenant; the rest is counted, so that a flood cannot fill the audit. */
const refusalsMax = 120;
const minuteMs = 60_000;
const resourcesMax = 20;
const named = ["family", "queue", "jobName", "name"];

/** Calls that only read, and those between services, which write their own entries, are told when refused only. */
const changes = (permission = ""): boolean =>
  !["public", "service"].includes(permission) && !/\.(read|list)$/.test(permission);

const text = (value: unknown): string => (typeof value === "string" ? value.slice(0, 500) : "");

/** Ids that a request names, by field; at most 20. */
function resourcesOf(request: object, sensitive: readonly string[]): Record<string, string> {
  const found = Object.entries(request)
    .filter(([field]) => !sensitive.includes(field) && field !== "requestId")
    .flatMap(([field, value]): [string, string][] => {
      if (/Ids$/.test(field) && Array.isArray(value)) {
        const ids = value.slice(0, resourcesMax).filter((id) => typeof id === "string" && isId(id));
        return ids.length > 0 ? [[field, ids.join(" ")]] : [];
      }
      const isName = /Id$/.test(field) || named.includes(field);
      return isName && typeof value === "string" && isId(value) ? [[field, value]] : [];
    });
  return Object.fromEntries(found.slice(0, resourcesMax));
}

/** The audit of the calls of one server. */
export function callAudit(parts: CallAuditParts): CallAudit {
  const { log, service, permissions, sensitive, now, newId } = parts;
  const told = new Map<string, { since: number; count: number }>();

  function facts(path: string, request: unknown, actor: string): AuditFacts {
    const fields = (request ?? {}) as Record<string, unknown>;
    const shown = (field: string) => (sensitive.includes(field) ? "" : text(fields[field]));
    const requestId = shown("requestId");
    return {
      ...{ id: newId(), at: now().toISOString(), actor, service, action: path, code: "" },
      outcome: "asked",
      requestId: isId(requestId) ? requestId : "",
      reason: shown("reason"),
      resources: resourcesOf(fields, sensitive),
    };
  }

  /** How many refusals went untold since the last one told; undefined when this one must not be told. */
  function untold(tenant: string): number | undefined {
    const at = now().getTime();
    const last = told.get(tenant);
    if (!last || at - last.since >= minuteMs) {
      if (told.size > 10_000) told.clear();
      told.set(tenant, { since: at, count: 1 });
      return Math.max(0, (last?.count ?? 0) - refusalsMax);
    }
    last.count += 1;
    return last.count > refusalsMax ? undefined : 0;
  }

  function refuse(tenant: string, entry: AuditFacts, code: string): void {
    const before = untold(tenant);
    if (before === undefined) return;
    const resources = before > 0 ? { untold: String(before) } : {};
    log.note(tenant, {
      ...{ ...entry, id: newId(), at: now().toISOString(), outcome: "refused", code },
      resources: { ...entry.resources, ...resources },
    });
  }

  return {
    async begin(path, request, who) {
      const tenant = who.tenant || "platform";
      const entry = facts(path, request, who.actor);
      const isChange = changes(permissions[path]);
      if (isChange) await log.write(tenant, entry);
      return (failure) => {
        const isRefusal = failure?.kind === "security" || failure?.kind === "not-found";
        if (isRefusal) return refuse(tenant, entry, failure.code);
        if (!isChange) return;
        const ended = { ...entry, id: newId(), at: now().toISOString(), code: failure?.code ?? "" };
        log.note(tenant, { ...ended, outcome: failure ? "failed" : "done" });
      };
    },
    refused(path, request, who, failure) {
      refuse(who?.tenant || "platform", facts(path, request, who?.actor ?? ""), failure.code);
    },
  };
}
