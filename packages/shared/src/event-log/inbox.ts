/** Where answers come in: one subscription for all of a connection, or one for a single question. */
import { createInbox, type Msg } from "@nats-io/transport-node";
import type { Nats } from "./nats.ts";

type Heard = (error: Error | null, message: Msg) => void;
type Inbox = { readonly prefix: string; readonly heard: Map<string, Heard>; asked: number };
const inboxes = new WeakMap<Nats, Inbox>();

/** One subscription for all answers of a connection: subscribing for each question costs the broker more than it. */
function sharedInbox(nats: Nats): Inbox {
  const known = inboxes.get(nats);
  if (known) return known;
  const inbox: Inbox = { prefix: createInbox(nats.inboxPrefix), heard: new Map(), asked: 0 };
  nats.subscribe(`${inbox.prefix}.*`, {
    callback(error, message) {
      if (!error)
        return inbox.heard.get(message.subject.slice(inbox.prefix.length + 1))?.(null, message);
      inboxes.delete(nats);
      for (const hear of [...inbox.heard.values()]) hear(error, message);
    },
  });
  inboxes.set(nats, inbox);
  return inbox;
}

/** Listens for answers; `own` on a subscription that ends with it, so that the broker knows nobody listens any more. */
export function listen(nats: Nats, own: boolean, hear: Heard): { reply: string; end: () => void } {
  if (own) {
    const reply = createInbox(nats.inboxPrefix);
    const subscription = nats.subscribe(reply, { callback: hear });
    return { reply, end: () => subscription.unsubscribe() };
  }
  const inbox = sharedInbox(nats);
  inbox.asked += 1;
  const token = inbox.asked.toString(36);
  inbox.heard.set(token, hear);
  return { reply: `${inbox.prefix}.${token}`, end: () => void inbox.heard.delete(token) };
}
