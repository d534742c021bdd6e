/** The answer to a job that was asked for by name and could not be accepted. Written by the job's family. */
import { JobRefused } from "@chom/proto/chom/jobs/v1/control";
import { aggregate, type Evolve } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";

const happened = eventTypes({ JobRefused });

type Refusal = { readonly refused: JobRefused | undefined };

const evolve: Evolve<Refusal, typeof happened> = {
  JobRefused: (_, refused) => ({ refused }),
};

const commands = {
  /** Total: the first refusal stands. */
  refuse: ({ refused }: Refusal, why: JobRefused) => (refused ? [] : happened.JobRefused(why)),
};

export const jobRefusal = aggregate({
  name: "job-refusal",
  events: happened,
  initial: (): Refusal => ({ refused: undefined }),
  evolve,
  commands,
});
