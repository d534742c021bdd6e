/** What provisioning needs to know of a server: whether work may begin on it. A read-only fold of another service's facts. */
import {
  HostKeyMismatched,
  ServerActivated,
  ServerRegistered,
} from "@chom/proto/chom/credentials/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const happened = eventTypes({ ServerRegistered, ServerActivated, HostKeyMismatched });

type ServerFacts = { readonly status: "absent" | "registered" | "active" | "distrusted" };

const evolve: Evolve<ServerFacts, typeof happened> = {
  ServerRegistered: () => ({ status: "registered" }),
  ServerActivated: () => ({ status: "active" }),
  HostKeyMismatched: () => ({ status: "distrusted" }),
};

const initial = (): ServerFacts => ({ status: "absent" });

/** Facts of one server, folded from its own events at request time. */
export const serverFacts = aggregate({
  name: "server",
  events: happened,
  initial,
  evolve,
  commands: {},
});
