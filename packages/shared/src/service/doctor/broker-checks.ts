/** What a service can see of its broker: topology, clock, room, and leases that nobody renews. */
import { api, getFromLeader, type Nats, valueOf } from "../../event-log/nats.ts";
import { isGone, write } from "../../lease/bucket.ts";
import { differencesFor } from "../../topology/check.ts";
import type { User } from "../../topology/names.ts";
import { describe } from "../../topology/plan.ts";
import { topology } from "../../topology/topology.ts";
import type { Diagnosis, DoctorCheck } from "./check.ts";

export type BrokerParts = { readonly nats: Nats; readonly user: User; readonly now: () => Date };

/** Differences that stop nobody from being looked at. */
export const skewWarningMs = 2_000;
export const skewCriticalMs = 15_000;

/** A finding about two clocks, if they are apart; `betweenMs` is how long the question was under way. */
export function skewOf(whose: string, theirs: Date, asked: Date, answered: Date): Diagnosis[] {
  const middle = (asked.getTime() + answered.getTime()) / 2;
  const betweenMs = answered.getTime() - asked.getTime();
  const apartMs = Math.max(0, Math.abs(theirs.getTime() - middle) - betweenMs / 2);
  if (apartMs < skewWarningMs) return [];
  return [
    {
      subject: whose,
      severity: apartMs >= skewCriticalMs ? "critical" : "warning",
      message: `its clock and ours are ${(apartMs / 1_000).toFixed(1)} s apart: schedules, expiries and leases are judged by both`,
      remedy: "let both machines follow the same time servers (chrony, systemd-timesyncd)",
    },
  ];
}

const topologyCheck = ({ nats, user }: BrokerParts): DoctorCheck => ({
  name: "topology",
  run: async () =>
    (await differencesFor(nats, user)).map((difference) => ({
      subject: `${difference.what}${difference.field ? ` ${difference.field}` : ""}`,
      severity: "critical",
      message: describe(difference),
      remedy: "run `chom topology plan`, then `chom topology apply`",
    })),
});

const clockCheck = ({ nats, now }: BrokerParts): DoctorCheck => ({
  name: "clock-broker",
  async run() {
    const asked = now();
    const answer = await api<{ ts?: string }>(nats, "STREAM.INFO.EVENTS");
    const { ts } = valueOf(answer, "asking for the broker's time");
    return ts === undefined ? [] : skewOf("broker", new Date(ts), asked, now());
  },
});

type Account = {
  readonly storage: number;
  readonly limits: { readonly max_storage: number };
};

const roomCheck = ({ nats }: BrokerParts): DoctorCheck => ({
  name: "broker-room",
  async run() {
    const { storage, limits } = valueOf(await api<Account>(nats, "INFO"), "asking for limits");
    const share = limits.max_storage > 0 ? storage / limits.max_storage : 0;
    if (share < 0.8) return [];
    return [
      {
        subject: "storage",
        severity: share < 0.95 ? "warning" : "critical",
        message: `the broker's storage is ${Math.round(share * 100)} % full`,
        remedy: "give it a larger disk and max_file_store; see docs/runbooks/broker-disk-full.md",
      },
    ];
  },
});

type ConsumerInfo = { readonly paused?: boolean; readonly pause_remaining?: number };
const noConsumer = 10_014;

/** Only `chom archive repair` pauses reactors, and whoever ended it by force left them so. */
const reactorCheck = ({ nats, user }: BrokerParts): DoctorCheck => ({
  name: "reactor-paused",
  async run() {
    const { consumers } = topology({ replicas: 1 });
    const found: Diagnosis[] = [];
    for (const { stream, name, owner } of consumers) {
      if (stream !== "EVENTS" || owner !== user) continue;
      const answer = await api<ConsumerInfo>(nats, `CONSUMER.INFO.EVENTS.${name}`);
      if ("fault" in answer && answer.fault.code === noConsumer) continue;
      const { paused, pause_remaining: leftNs = 0 } = valueOf(answer, `asking ${name}`);
      if (paused !== true) continue;
      found.push({
        subject: name,
        severity: "warning",
        message: `the broker delivers it no events for ${Math.round(leftNs / 1e9)} s more: nothing reacts to them`,
        remedy:
          "wait for the `chom archive repair` that runs; if none does, run it: reactors go on at its end",
      });
    }
    return found;
  },
});

/** A lease lives 30 s and is renewed: one that is older was written without an end. */
const leaseLateMs = 120_000;
const leasesMax = 5_000;

const leaseCheck = ({ nats, now }: BrokerParts): DoctorCheck => ({
  name: "lease-without-owner",
  async run() {
    const filter = "$KV.leases.*.run.*";
    const found: Diagnosis[] = [];
    for (let seq = 1, looked = 0; looked < leasesMax; looked += 1) {
      const message = await getFromLeader(nats, "KV_leases", { seq, next_by_subj: filter });
      if (!message) break;
      seq = message.sequence + 1;
      const age = now().getTime() - (message.time?.getTime() ?? 0);
      if (isGone(message) || message.header("Nats-TTL") !== "" || age < leaseLateMs) continue;
      const key = message.subject.slice("$KV.leases.".length);
      found.push({
        subject: key,
        severity: "critical",
        message: `the lease has no end and was not renewed for ${Math.round(age / 1_000)} s: its job never runs again`,
        remedy: "remove the lease; a job that still works on it notices and stops",
        async mend() {
          const taken = await write(nats, {
            ...{ key, body: "", ttlSeconds: 5, remove: true },
            expected: message.sequence,
          });
          return taken === "moved" ? "somebody renewed it meanwhile" : "the lease was removed";
        },
      });
    }
    return found;
  },
});

export const brokerChecks = (parts: BrokerParts): DoctorCheck[] => [
  topologyCheck(parts),
  clockCheck(parts),
  roomCheck(parts),
  reactorCheck(parts),
  leaseCheck(parts),
];
