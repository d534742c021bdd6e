/** Writes the audit: entries of one tenant in one chain, whoever writes, each stored once. */
import { setTimeout as sleep } from "node:timers/promises";
import { ask, type Nats, publish } from "../event-log/nats.ts";
import { classify, transient } from "../failure/failure.ts";
import type { Logger } from "../telemetry/logger.ts";
import { auditSubject } from "../topology/subjects.ts";
import { type AuditFacts, emptyHead, type Head, headOf, link } from "./chain.ts";

export type AuditLog = {
  /** Answers once the entry is stored. Failure `transient` "log-unavailable" when it is not within 8 s. */
  write(tenant: string, facts: AuditFacts): Promise<void>;
  /** Stored soon, and tried as long as the service runs; what cannot be kept is logged whole, as an error. */
  note(tenant: string, facts: AuditFacts): void;
  /** Waits until nothing is left to store, at most 8 s; what is left then is logged whole. */
  close(): Promise<void>;
};

type Waiting = { readonly facts: AuditFacts; readonly settle: (error?: unknown) => void };
type Chain = { readonly waiting: Waiting[]; head?: Head & { sequence: number }; busy: boolean };

const answerMs = 2_000;
const blockMax = 100;
const waitingMax = 10_000;
const chainsMax = 10_000;
/** Outlives most changes of a leader. */
const giveUpMsDefault = 8_000;
const wrongSequence = [10071, 10164];

/** The audit on a broker's stream AUDIT. What waits for one tenant is stored in one message. */
export function auditLog(
  nats: Nats,
  logger: Logger,
  { giveUpMs = giveUpMsDefault }: { giveUpMs?: number } = {},
): AuditLog {
  const chains = new Map<string, Chain>();
  let closed = false;
  const lost = (tenant: string, facts: AuditFacts, err?: unknown) =>
    logger.error({ tenant, audit: facts, err }, "an entry of the audit could not be stored");

  function chainOf(tenant: string): Chain {
    const known = chains.get(tenant);
    if (known) return known;
    // An idle chain costs one read when it is wanted again.
    if (chains.size >= chainsMax) {
      for (const [name, { busy }] of chains) if (!busy) chains.delete(name);
    }
    const made: Chain = { waiting: [], busy: false };
    chains.set(tenant, made);
    return made;
  }

  async function work(tenant: string, chain: Chain): Promise<void> {
    if (chain.busy) return;
    chain.busy = true;
    while (chain.waiting.length > 0) {
      const block = chain.waiting.splice(0, blockMax);
      const giveUpAt = Date.now() + giveUpMs;
      const failed = await store({ nats, tenant, chain, block, giveUpAt }).then(
        () => undefined,
        classify,
      );
      // Who waited behind a block that could not be stored has waited long enough.
      const behind = failed ? chain.waiting.splice(0) : [];
      for (const { settle } of [...block, ...behind]) settle(failed);
    }
    chain.busy = false;
  }

  const add = (tenant: string, facts: AuditFacts, settle: Waiting["settle"]) => {
    const chain = chainOf(tenant);
    if (chain.waiting.length >= waitingMax) {
      return settle(transient("log-unavailable", "the audit is too far behind"));
    }
    chain.waiting.push({ facts, settle });
    void work(tenant, chain);
  };

  function keep(tenant: string, facts: AuditFacts): void {
    add(tenant, facts, (error) => {
      if (!error) return;
      const { length } = chainOf(tenant).waiting;
      if (closed || length >= waitingMax) return lost(tenant, facts, error);
      setTimeout(() => keep(tenant, facts), 1_000).unref();
    });
  }

  return {
    write: (tenant, facts) =>
      new Promise((resolve, reject) =>
        add(tenant, facts, (error) => (error ? reject(error) : resolve())),
      ),
    note: keep,
    async close() {
      closed = true;
      const end = Date.now() + giveUpMs;
      const isBusy = () => [...chains.values()].some(({ busy }) => busy);
      while (isBusy() && Date.now() < end) await sleep(10);
      for (const [tenant, { waiting }] of chains) {
        for (const { facts } of waiting.splice(0)) lost(tenant, facts);
      }
    },
  };
}

/** Others write the same chain: whoever comes second reads the new head and tries again. */
async function store(parts: {
  nats: Nats;
  tenant: string;
  chain: Chain;
  block: readonly Waiting[];
  giveUpAt: number;
}): Promise<void> {
  const { nats, tenant, chain, block, giveUpAt } = parts;
  const subject = auditSubject(tenant);
  const id = block[0]?.facts.id ?? "";
  let cause: unknown;
  for (let tries = 0; Date.now() < giveUpAt; tries += 1) {
    try {
      chain.head ??= await readHead(nats, tenant, subject);
      const { head } = chain;
      const facts = block.map((each) => each.facts);
      const next = link(tenant, head, facts);
      const headers = {
        // The same block again is stored once, also when the answer to the first was lost.
        "Nats-Msg-Id": `audit-${id}`,
        "Nats-Expected-Last-Subject-Sequence": String(head.sequence),
      };
      const answer = await publish(nats, subject, next.body, { headers, timeoutMs: answerMs });
      if ("ok" in answer) {
        const { seq, duplicate = false } = answer.ok;
        if (duplicate) delete chain.head;
        else chain.head = { ...next.head, sequence: seq };
        return;
      }
      cause = new Error(`${answer.fault.description} (${answer.fault.code})`);
      delete chain.head;
      if (wrongSequence.includes(answer.fault.code)) await sleep(Math.random() * 5 * tries);
      else await sleep(100);
    } catch (error) {
      cause = error;
      delete chain.head;
      if (classify(error).code !== "log-unavailable") throw error;
      await sleep(100);
    }
  }
  throw transient("log-unavailable", "the audit does not store entries", { cause });
}

async function readHead(
  nats: Nats,
  tenant: string,
  subject: string,
): Promise<Head & { sequence: number }> {
  const last = await ask(nats, `$JS.API.DIRECT.GET.AUDIT.${subject}`, "", { timeoutMs: answerMs });
  const code = last.headers?.code ?? 0;
  if (code === 404) return { ...emptyHead(tenant), sequence: 0 };
  const sequence = Number(last.headers?.get("Nats-Sequence"));
  // A tail that was spoiled must not stop the audit: the chain goes on, and verifying names the break.
  const head = headOf(last.string()) ?? emptyHead(tenant);
  if (code >= 400 || !Number.isSafeInteger(sequence)) {
    throw transient("log-unavailable", `reading the audit: ${code}`);
  }
  return { ...head, sequence };
}
