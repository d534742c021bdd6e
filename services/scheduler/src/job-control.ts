/** What people asked of one job: recorded here, carried out by the job's family. */
import { JobControlRequested } from "@chom/proto/chom/jobs/v1/control";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const happened = eventTypes({ JobControlRequested });

type Control = { readonly lastVerb: string };

const evolve: Evolve<Control, typeof happened> = {
  JobControlRequested: (_, { verb }) => ({ lastVerb: verb }),
};

const commands = {
  /** The same wish twice in a row is one wish. */
  request: (control: Control, wish: JobControlRequested) =>
    control.lastVerb === wish.verb ? [] : happened.JobControlRequested(wish),
};

export const jobControl = aggregate({
  name: "job-control",
  events: happened,
  initial: (): Control => ({ lastVerb: "" }),
  evolve,
  commands,
});
