/** A tenant's keys as far as the world should know of them: renewed any number of times, destroyed once. */
import { TenantErased, TenantKeyRotated } from "@chom/proto/chom/credentials/v1/key_events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const happened = eventTypes({ TenantErased, TenantKeyRotated });

type Keys = { readonly version: number; readonly erased: boolean };

const evolve: Evolve<Keys, typeof happened> = {
  TenantKeyRotated: (keys, { version }) => ({ ...keys, version }),
  TenantErased: (keys) => ({ ...keys, erased: true }),
};

/** They tell what was done already, so they never reject. */
const commands = {
  rotated: ({ version }: Keys, input: TenantKeyRotated) =>
    input.version > version ? happened.TenantKeyRotated(input) : [],
  erased: (keys: Keys, input: TenantErased) => (keys.erased ? [] : happened.TenantErased(input)),
};

export const tenantKeysAggregate = aggregate({
  name: "tenant-keys",
  events: happened,
  initial: (): Keys => ({ version: 0, erased: false }),
  evolve,
  commands,
});
