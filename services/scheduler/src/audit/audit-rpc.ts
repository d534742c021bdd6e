/** AuditService: the audit of the caller's tenant, listed and verified. */
import {
  type AuditEntry as AuditMessage,
  AuditServiceService,
  type ListEntriesRequest,
  type ListEntriesResponse,
  type VerifyResponse,
} from "@chom/proto/chom/audit/v1/audit";
import { type AuditEntry, entriesOf } from "@chom/shared/audit/chain";
import { readAudit, verifyAudit } from "@chom/shared/audit/read-audit";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, serverStream, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { anchorOf } from "./anchors.ts";

/** Messages looked through for one page: a rare entry is found over several pages. */
const messagesMax = 2_000;

export const auditRpc = (app: App): RpcService => ({
  definition: AuditServiceService,
  implementation: {
    listEntries: unary((request: ListEntriesRequest, caller) => listEntries(app, request, caller)),
    verify: serverStream((_: object, caller) => verify(app, caller)),
  },
});

const messageOf = ({ v: _v, tenant: _tenant, ...entry }: AuditEntry): AuditMessage => ({
  ...entry,
  number: BigInt(entry.number),
  at: new Date(entry.at),
  resources: new Map(Object.entries(entry.resources ?? {})),
});

async function listEntries(
  app: App,
  request: ListEntriesRequest,
  { tenant }: Caller,
): Promise<ListEntriesResponse> {
  const fields = fieldsOf(request);
  const after = fields.position("afterPosition");
  const pageSize = fields.pageSize();
  const actor = fields.optionalText("actor", { max: 128 });
  const action = fields.optionalText("action", { max: 200 });
  fields.done();
  const entries: AuditMessage[] = [];
  let position = after;
  let seen = 0;
  for await (const { body, sequence } of readAudit(app.nats, tenant, after)) {
    if (entries.length >= pageSize || seen >= messagesMax) {
      return { entries, nextPosition: BigInt(position), atEnd: false };
    }
    seen += 1;
    position = sequence;
    for (const entry of entriesOf(body)) {
      if (actor !== "" && entry.actor !== actor) continue;
      if (entry.action.includes(action)) entries.push(messageOf(entry));
    }
  }
  return { entries, nextPosition: BigInt(position), atEnd: true };
}

async function* verify(app: App, { tenant, signal }: Caller): AsyncIterable<VerifyResponse> {
  const anchor = await anchorOf(app, tenant);
  for await (const { head, broken, done } of verifyAudit(app.nats, tenant, { anchor })) {
    if (signal.aborted) return;
    yield {
      verified: BigInt(head.number),
      done,
      brokenNumber: BigInt(broken?.number ?? 0),
      problem: broken?.problem ?? "",
      head: head.hash,
      anchored: BigInt(anchor?.number ?? 0),
    };
  }
}
