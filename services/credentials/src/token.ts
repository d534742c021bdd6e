/** An API token: created once, revoked at most once. What it is was seen by its creator alone; here is its hash. */
import { ApiTokenCreated, ApiTokenRevoked } from "@chom/proto/chom/credentials/v1/token_events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

/** Every fact about a token, by name. */
export const tokenEvents = eventTypes({ ApiTokenCreated, ApiTokenRevoked });
const happened = tokenEvents;

export type Token = Omit<ApiTokenCreated, "expiresAt"> & {
  readonly status: "absent" | "active" | "revoked";
  readonly expiresAt: Date;
};

const initial = (): Token => ({
  ...ApiTokenCreated.fromPartial({}),
  status: "absent",
  expiresAt: new Date(0),
});

const evolve: Evolve<Token, typeof happened> = {
  ApiTokenCreated: (_, { expiresAt, ...created }) => ({
    ...created,
    status: "active",
    expiresAt: expiresAt ?? new Date(0),
  }),
  ApiTokenRevoked: (token) => ({ ...token, status: "revoked" }),
};

const commands = {
  create: (token: Token, input: ApiTokenCreated) =>
    token.status === "absent" ? happened.ApiTokenCreated(input) : [],
  revoke: (token: Token, input: ApiTokenRevoked) =>
    token.status === "active" ? happened.ApiTokenRevoked(input) : [],
};

export const apiToken = aggregate({
  name: "api-token",
  events: happened,
  initial,
  evolve,
  commands,
});
