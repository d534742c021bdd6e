/** One alert: raised when its rule is broken, resolved when things are well again, and so on; each edge told once. */
import { AlertRaised, AlertResolved } from "@chom/proto/chom/scheduler/v1/alerts";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";

export const alertEvents = eventTypes({ AlertRaised, AlertResolved });

type State = { readonly raisedAt: Date | undefined; readonly episode: number };

const evolve: Evolve<State, typeof alertEvents> = {
  AlertRaised: (_, { episode }, { time }) => ({ raisedAt: time, episode }),
  AlertResolved: ({ episode }) => ({ raisedAt: undefined, episode }),
};

/** What was measured of one subject, and what it means. Between `isHigh` and `isLow` nothing changes. */
export type Observation = {
  readonly rule: string;
  readonly subject: string;
  readonly value: number;
  readonly threshold: number;
  readonly isHigh: boolean;
  readonly isLow: boolean;
  readonly message: string;
};

const commands = {
  observe({ raisedAt, episode }: State, observation: Observation) {
    const { rule, subject, value, threshold, message, isHigh, isLow } = observation;
    const facts = { rule, subject, value, threshold, message };
    if (!raisedAt && isHigh) return alertEvents.AlertRaised({ ...facts, episode: episode + 1 });
    if (raisedAt && isLow) return alertEvents.AlertResolved({ ...facts, episode, raisedAt });
    return [];
  },
};

export const alert = aggregate({
  name: "alert",
  events: alertEvents,
  initial: (): State => ({ raisedAt: undefined, episode: 0 }),
  evolve,
  commands,
});

/** The same rule and subject are always the same alert of a tenant. */
export const alertId = (rule: string, subject: string): string => hashId("alert", rule, subject);
