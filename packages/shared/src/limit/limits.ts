/** Named limits over all processes: several of one job are charged all or none. */
import { hashId } from "../aggregate/id.ts";
import type { Clock } from "../job/clock.ts";
import { changeOf, type LimitStore } from "./limit-store.ts";
import type { LimitName, Rates } from "./named-limits.ts";
import { charge, type Charges, refund } from "./sliding-window.ts";

export type WantedLimit = { readonly name: LimitName; readonly key: string };

export type LimitAnswer =
  /** `giveBack` takes the charges back, for what came to nothing; call it once at most. */
  | { readonly charged: true; readonly giveBack: () => Promise<void> }
  /** Nothing was charged. `until`: when to ask again; `everyMs`: how often on average there is room for one more. */
  | { readonly refusedBy: WantedLimit; readonly until: Date; readonly everyMs: number };

export type Limits = {
  /** Charges every limit once, or none. Many who ask at once never get more than a limit's rate. */
  take(wanted: readonly WantedLimit[]): Promise<LimitAnswer>;
};

const busyMs = 1_000;
const keyOf = ({ name, key }: WantedLimit): string => `rate.${hashId(name, key)}`;
const chargesOf = (body: string | undefined): Charges => JSON.parse(body ?? "[]") as Charges;

type Step = { readonly at: number } | { readonly untilMs: number };

/** Limits in a store. */
export function limits(store: LimitStore, rates: Rates, clock: Clock): Limits {
  const nowMs = () => clock.now().getTime();

  /** When there is room in a limit, without charging it. */
  async function roomAt(wanted: WantedLimit): Promise<number> {
    const { body } = await store.read(keyOf(wanted));
    const answer = charge(rates[wanted.name], chargesOf(body), nowMs());
    return "untilMs" in answer ? answer.untilMs : 0;
  }
  async function chargeOne(wanted: WantedLimit): Promise<Step> {
    const rate = rates[wanted.name];
    const answer = await changeOf<Step>(store, keyOf(wanted), (body) => {
      const charged = charge(rate, chargesOf(body), nowMs());
      if ("untilMs" in charged) return { answer: charged };
      const next = JSON.stringify(charged.charges);
      return { body: next, ttlMs: rate.perMs + 60_000, answer: { at: charged.at } };
    });
    return answer === "busy" ? { untilMs: nowMs() + busyMs } : answer;
  }
  async function giveBack(wanted: WantedLimit, at: number): Promise<void> {
    const { perMs } = rates[wanted.name];
    await changeOf(store, keyOf(wanted), (body) => ({
      body: JSON.stringify(refund(chargesOf(body), at)),
      ttlMs: perMs + 60_000,
      answer: undefined,
    }));
  }
  const refused = (refusedBy: WantedLimit, untilMs: number): LimitAnswer => ({
    refusedBy,
    until: new Date(untilMs),
    everyMs: rates[refusedBy.name].perMs / rates[refusedBy.name].count,
  });

  return {
    async take(wanted) {
      const byKey = new Map(wanted.map((each) => [keyOf(each), each]));
      const inOrder = [...byKey].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
      // Looking first keeps what refuses for long from charging and refunding the others each time.
      let latest: { each: WantedLimit; untilMs: number } | undefined;
      for (const each of inOrder.length > 1 ? inOrder : []) {
        const untilMs = await roomAt(each);
        if (untilMs > (latest?.untilMs ?? 0)) latest = { each, untilMs };
      }
      if (latest) return refused(latest.each, latest.untilMs);
      const charged: { each: WantedLimit; at: number }[] = [];
      for (const each of inOrder) {
        const step = await chargeOne(each);
        if ("at" in step) charged.push({ each, at: step.at });
        else {
          for (const before of charged) await giveBack(before.each, before.at);
          return refused(each, step.untilMs);
        }
      }
      const giveAllBack = async () => {
        for (const { each, at } of charged) await giveBack(each, at);
      };
      return { charged: true, giveBack: giveAllBack };
    },
  };
}
