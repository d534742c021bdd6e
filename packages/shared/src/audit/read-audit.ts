/** Reads one tenant's audit from a broker's stream, and checks its chain on the way. */
import { getBatch, type Nats, type StoredMessage } from "../event-log/nats.ts";
import { auditSubject } from "../topology/subjects.ts";
import { type Broken, type Head, verifier } from "./chain.ts";

const batch = 100;

/** Stored messages of a tenant behind a position, in order, until none is left. Each holds one or more entries. */
export async function* readAudit(
  nats: Nats,
  tenant: string,
  afterPosition = 0,
): AsyncIterable<StoredMessage> {
  const next_by_subj = auditSubject(tenant);
  for (let seq = afterPosition + 1; ; ) {
    const { messages } = await getBatch(nats, "AUDIT", { seq, next_by_subj, batch });
    yield* messages;
    const last = messages.at(-1);
    if (!last) return;
    seq = last.sequence + 1;
  }
}

export type Verified = {
  /** As far as the chain is whole. */
  readonly head: Head;
  /** Of the last message read; 0 before the first. */
  readonly position: number;
  readonly broken: Broken | undefined;
  /** Nothing more comes. */
  readonly done: boolean;
};

/** Recomputes a chain; tells how far it is after every thousand messages, and at last how it ended. */
export async function* verifyAudit(
  nats: Nats,
  tenant: string,
  options: { from?: Head & { position: number }; anchor?: Head | undefined } = {},
): AsyncGenerator<Verified, void> {
  const { from, anchor } = options;
  const chain = verifier(tenant, { ...(from ? { from } : {}), anchor });
  let position = from?.position ?? 0;
  let count = 0;
  for await (const { body, sequence } of readAudit(nats, tenant, position)) {
    position = sequence;
    const broken = chain.take(body);
    if (broken) return yield { head: chain.head, position, broken, done: true };
    count += 1;
    if (count % 1_000 === 0) yield { head: chain.head, position, broken: undefined, done: false };
  }
  yield { head: chain.head, position, broken: chain.end(), done: true };
}
