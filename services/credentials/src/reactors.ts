/** A promoted key's predecessor is retired when its overlap is over. */
import { KeyPromoted } from "@chom/proto/chom/credentials/v1/events";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { AnyJob } from "@chom/shared/job/job";
import { reactor } from "@chom/shared/reactor/reactor";

/** Dispatches `retire` (the job `key.retire`) for the time that the promotion named. */
export const retireKeys = (retire: AnyJob) =>
  reactor({
    name: "retire-keys",
    aggregate: "server",
    from: eventTypes({ KeyPromoted }),
    on: {
      KeyPromoted: ({ serverId, previousKeyId, retireAt }, { time }) =>
        retire.dispatch(
          { serverId, keyId: previousKeyId, promotedAt: time },
          retireAt ? { notBefore: retireAt } : {},
        ),
    },
  });
