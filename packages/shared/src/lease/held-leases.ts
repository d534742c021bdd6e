/** Who holds a tenant's leases, and who waits for them: for people. */
import { getBatch, type Nats, type StoredMessage } from "../event-log/nats.ts";
import { kvSubject } from "../topology/subjects.ts";
import { isGone, stream } from "./bucket.ts";
import type { Ticket } from "./tickets.ts";

export type HeldLease = {
  /** Without the tenant, like `site.<id>`, or `run.<jobId>` of a running job. */
  readonly key: string;
  /** Empty when nobody holds it. */
  readonly holderJobId: string;
  /** Oldest first. */
  readonly waitingJobIds: string[];
};

async function allOf(nats: Nats, filter: string): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  for (let seq = 1; ; ) {
    const wish = { seq, next_by_subj: filter, batch: 1_000 };
    const { messages, pending } = await getBatch(nats, stream, wish);
    found.push(...messages.filter((message) => !isGone(message)));
    const last = messages.at(-1);
    if (!last || pending === 0) return found;
    seq = last.sequence + 1;
  }
}

/** Sorted by key. A moment's picture, maybe a little stale. */
export async function heldLeases(
  nats: Nats,
  tenant: string,
  includeRuns: boolean,
): Promise<readonly HeldLease[]> {
  const leases = new Map<string, HeldLease>();
  const take = (key: string, body: string) => {
    const { owner } = JSON.parse(body) as { owner: string };
    leases.set(key, { key, holderJobId: owner, waitingJobIds: [] });
  };
  const held = await allOf(nats, `${kvSubject("leases", tenant)}.*.*`);
  for (const { subject, body } of held) take(subject.split(".").slice(3).join("."), body);
  const runs = includeRuns ? await allOf(nats, `${kvSubject("leases", `run.${tenant}`)}.*.*`) : [];
  for (const { subject, body } of runs) take(`run.${subject.split(".").at(-1)}`, body);
  const waiting = await allOf(nats, `${kvSubject("leases", `wait.${tenant}`)}.>`);
  const tickets = waiting.map(({ body }) => JSON.parse(body) as Ticket);
  for (const { key: whole, owner } of tickets.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const key = whole.split(".").slice(1).join(".");
    const lease = leases.get(key) ?? { key, holderJobId: "", waitingJobIds: [] };
    lease.waitingJobIds.push(owner);
    leases.set(key, lease);
  }
  return [...leases.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
}
