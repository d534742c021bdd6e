/** Requests on a connection, lighter than the library's: that makes and drops an error with its stack for every answer. */
import {
  type Msg,
  NoRespondersError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from "@nats-io/transport-node";
import { listen } from "./inbox.ts";
import type { Nats } from "./nats.ts";

type Request = Nats["request"];
type Pending = { readonly subject: string; readonly fail: (error: Error) => void };

const timeoutMsDefault = 1_000;

/** A refused permission is told to the connection, not to who asked: it is found by its subject. */
async function followRefusals(nats: Nats, pending: Set<Pending>): Promise<void> {
  for await (const status of nats.status()) {
    if (status.type !== "error" || !(status.error instanceof PermissionViolationError)) continue;
    const { operation, subject } = status.error;
    if (operation !== "publish") continue;
    const refused = [...pending].filter((each) => each.subject === subject);
    for (const { fail } of refused) fail(status.error);
  }
}

/** What `Nats.request` promises, with the library's errors; only its options `timeout` and `headers` count. */
export function lightRequest(nats: Nats): Request {
  const pending = new Set<Pending>();
  void followRefusals(nats, pending);
  void nats.closed().then(() => {
    for (const { fail } of [...pending]) fail(new RequestError("connection closed"));
  });
  return (subject, body, options) =>
    new Promise<Msg>((resolve, reject) => {
      const fail = (error: unknown) => {
        settle();
        reject(error as Error);
      };
      const { reply, end } = listen(nats, false, (error, message) => {
        if (error) return fail(error);
        if (message.headers?.code === 503 && message.data.length === 0) {
          return fail(new NoRespondersError(subject));
        }
        settle();
        resolve(message);
      });
      const mine: Pending = { subject, fail };
      const timer = setTimeout(
        () => fail(new TimeoutError()),
        options?.timeout ?? timeoutMsDefault,
      );
      const settle = () => {
        clearTimeout(timer);
        pending.delete(mine);
        end();
      };
      pending.add(mine);
      try {
        const headers = options?.headers;
        nats.publish(subject, body, headers ? { reply, headers } : { reply });
      } catch (error) {
        fail(error);
      }
    });
}
