/** What people asked of one job: recorded here, carried out by the job's family. */
import { JobControlRequested } from "@chom/proto/chom/jobs/v1/control";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const happened = eventTypes({ JobControlRequested });

/** After so long a wish may be repeated: whoever should have carried it out did not. */
export const repeatAfterMs = 60_000;

type Control = {
  readonly verb: string;
  /** The journal entry that the last wish was about. */
  readonly about: bigint;
  readonly at: Date | undefined;
};

const evolve: Evolve<Control, typeof happened> = {
  JobControlRequested: (_, { verb, aboutSequence }, { time }) => ({
    verb,
    about: aboutSequence,
    at: time,
  }),
};

type Wish = JobControlRequested & {
  /** When it is asked; without it a repeat is never a new wish. */
  readonly now?: Date;
};

const commands = {
  /** The same wish about the same entry is one wish, but for one that nobody has carried out for a minute. */
  request({ verb, about, at }: Control, { now, ...wish }: Wish) {
    const isSame = verb === wish.verb && about === wish.aboutSequence;
    const isStale = at !== undefined && now !== undefined && +now - +at >= repeatAfterMs;
    return isSame && !isStale ? [] : happened.JobControlRequested(wish);
  },
};

export const jobControl = aggregate({
  name: "job-control",
  events: happened,
  initial: (): Control => ({ verb: "", about: 0n, at: undefined }),
  evolve,
  commands,
});
