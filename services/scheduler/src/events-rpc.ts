/** EventsService: the event log of the caller's tenant, from any position, then live. */
import {
  type Event,
  EventsServiceService,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@chom/proto/chom/events/v1/events";
import { personalFields } from "@chom/proto/personal";
import { metaOf } from "@chom/shared/event-log/codec";
import type { Entry } from "@chom/shared/event-log/event-log";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, serverStream } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { follow, lastSequence } from "./follow.ts";

const batch = 200;
const typesMax = 50;

export const eventsRpc = (app: App): RpcService => ({
  definition: EventsServiceService,
  implementation: {
    subscribe: serverStream((request: SubscribeRequest, caller) => subscribe(app, request, caller)),
  },
});

/** Personal data does not leave by the event stream: it is sealed in the log, and left out here. */
function dataJsonOf({ type, body }: Entry): string {
  const personal = personalFields[type];
  if (!personal) return body;
  const data = JSON.parse(body) as Record<string, unknown>;
  for (const field of personal) delete data[field];
  return JSON.stringify(data);
}

/** An entry of the log as subscribers see it. */
function eventOf(entry: Entry): Event {
  const { tenant, kind, id } = metaOf(entry);
  const { type, source, time, actor, causationId, correlationId } = entry;
  return {
    ...{ id: entry.id, type, source, time, tenant, actor, causationId, correlationId },
    subject: `${kind}/${id}`,
    position: BigInt(entry.sequence),
    dataJson: dataJsonOf(entry),
  };
}

/** A full name, or the last part of one. */
const wants = (types: readonly string[], type: string): boolean =>
  types.length === 0 ||
  types.includes(type) ||
  types.includes(type.slice(type.lastIndexOf(".") + 1));

function wishOf(request: SubscribeRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const after = fields.position("afterPosition");
  const types = fields.texts("types", { max: 200, items: { max: typesMax } });
  const aggregate = fields.optionalId("aggregate");
  const id = fields.optionalId("aggregateId");
  if (request.fromNow && after > 0) fields.refuse("afterPosition", "must be 0 with from_now");
  if (id !== "" && aggregate === "") fields.refuse("aggregate", "is required with aggregate_id");
  fields.done();
  // The tenant is the credential's, and an id holds neither dot nor wildcard: nobody else's subjects match.
  const filter =
    aggregate === "" ? `evt.${tenant}.>` : `evt.${tenant}.${aggregate}.${id === "" ? "*" : id}`;
  return { after, types, filter };
}

async function* subscribe(
  app: App,
  request: SubscribeRequest,
  caller: Caller,
): AsyncIterable<SubscribeResponse> {
  const { after, types, filter } = wishOf(request, caller);
  const follower = follow(app.log, "EVENTS", filter, caller.signal);
  try {
    let position = request.fromNow ? await lastSequence(app.nats, "EVENTS") : after;
    while (!caller.signal.aborted) {
      const { entries, lastSequence } = await app.log.read("EVENTS", filter, position, batch);
      for (const entry of entries) {
        if (wants(types, entry.type)) yield { event: eventOf(entry) };
      }
      position = Math.max(position, lastSequence);
      if (entries.length > 0) continue;
      if (request.stopAtEnd) return;
      await follower.changed();
    }
  } finally {
    follower.stop();
  }
}
