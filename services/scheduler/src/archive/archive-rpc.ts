/** ArchiveService: comparing the event log with its archive, and mending each from the other. */
import {
  type AcceptLogRequest,
  type AcceptLogResponse,
  ArchiveServiceService,
  type CheckResponse,
  type ListMissingResponse,
} from "@chom/proto/chom/operations/v1/archive";
import { parseHistorySubject } from "@chom/shared/topology/subjects";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { platformOnly } from "@chom/shared/rpc/platform-only";
import { type Caller, type RpcService, serverStream, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { missingRows } from "./archive-store.ts";
import { acceptLog, checkArchive, type Found } from "./check-archive.ts";

const pageMax = 200;

export const archiveRpc = (app: App): RpcService => ({
  definition: ArchiveServiceService,
  implementation: {
    check: serverStream((_: object, caller) => check(app, caller, false)),
    complete: serverStream((_: object, caller) => check(app, caller, true)),
    listMissing: serverStream((_: object, caller) => listMissing(app, caller)),
    acceptLog: unary((request: AcceptLogRequest, caller) => accept(app, request, caller)),
  },
});

const findingOf = (found: Found) => ({ ...found, version: BigInt(found.version) });

async function* check(app: App, caller: Caller, complete: boolean): AsyncIterable<CheckResponse> {
  platformOnly(caller);
  const { signal } = caller;
  for await (const { found, compared, done } of checkArchive(app, { complete, signal })) {
    yield { finding: found && findingOf(found), compared: BigInt(compared), done };
  }
}

async function* listMissing(app: App, caller: Caller): AsyncIterable<ListMissingResponse> {
  platformOnly(caller);
  for (let after = 0; !caller.signal.aborted; ) {
    const rows = await missingRows(app.db, after, pageMax);
    for (const { subject, version, eventId, type, headers, body } of rows) {
      const event = { subject, eventId, type, headersJson: headers, body: body.toString() };
      yield { ...event, version: BigInt(version) };
    }
    const last = rows.at(-1);
    if (!last) return;
    after = last.ordinal;
  }
}

async function accept(
  app: App,
  request: AcceptLogRequest,
  caller: Caller,
): Promise<AcceptLogResponse> {
  platformOnly(caller);
  const fields = fieldsOf(request);
  const subject = fields.text("subject", { max: 200 });
  const history = parseHistorySubject(subject);
  if (history?.stream !== "EVENTS") fields.refuse("subject", "must be the subject of a history");
  fields.done();
  return acceptLog(app, subject);
}
