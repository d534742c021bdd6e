/** Rounds of rotations of one tenant: what became of every server that was due. */
import {
  DueKeysRotated,
  type RotateDueInput,
} from "@chom/proto/chom/credentials/v1/rotation_events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Done } from "@chom/shared/job/job";

const happened = eventTypes({ DueKeysRotated });
/** The last twenty, newest last. */
type Rounds = { readonly recent: readonly DueKeysRotated[] };
const remembered = 20;

const evolve: Evolve<Rounds, typeof happened> = {
  DueKeysRotated: ({ recent }, round) => ({ recent: [...recent, round].slice(-remembered) }),
};

const commands = {
  report: ({ recent }: Rounds, round: DueKeysRotated) =>
    recent.some(({ jobId }) => jobId === round.jobId) ? [] : happened.DueKeysRotated(round),
  /** Everything was reported while it ran. */
  end: (_state: Rounds, _report: Done<RotateDueInput, { rotated: number }>) => [],
  noteNothing: () => [],
};

export const keyRotations = aggregate({
  name: "key-rotations",
  events: happened,
  initial: (): Rounds => ({ recent: [] }),
  evolve,
  commands,
});

/** A tenant has one history of rounds. */
export const roundsId = "all";
