/** Who paused a family's queue, why and until when. The broker's consumer is what is paused; this says who did it. */
import { QueuePaused, QueueResumed } from "@chom/proto/chom/jobs/v1/queues";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const happened = eventTypes({ QueuePaused, QueueResumed });

type Pause = { readonly paused: QueuePaused | undefined };

const evolve: Evolve<Pause, typeof happened> = {
  QueuePaused: (_, paused) => ({ paused }),
  QueueResumed: () => ({ paused: undefined }),
};

const commands = {
  pause: (_: Pause, wish: QueuePaused) => happened.QueuePaused(wish),
  resume: ({ paused }: Pause, wish: QueueResumed) => (paused ? happened.QueueResumed(wish) : []),
};

/** Id: `<family>-<queue>`, of the tenant `platform`. */
export const queuePause = aggregate({
  name: "queue",
  events: happened,
  initial: (): Pause => ({ paused: undefined }),
  evolve,
  commands,
});
