/** Writes down, outside of the broker, how far each chain of the audit was whole; a chain never falls behind that. */
import { type Head, headOf } from "@chom/shared/audit/chain";
import { readAudit, verifyAudit } from "@chom/shared/audit/read-audit";
import { api, valueOf } from "@chom/shared/event-log/nats";
import { classify } from "@chom/shared/failure/failure";
import type { App, Tick } from "@chom/shared/service/app";
import { gauge } from "@chom/shared/telemetry/metrics";
import { auditSubject } from "@chom/shared/topology/subjects";
import { eq } from "drizzle-orm";
import { auditAnchors } from "./audit-tables.ts";

type Parts = Pick<App, "db" | "nats" | "sealer" | "logger" | "now">;

/** A head, and the broker's position of the message that ends with it. */
export type Anchor = Head & { readonly position: number };

const platform = "platform";
const context = (chain: string) => ["audit-anchor", chain];

/** The last anchor of a chain. Failure `permanent` "seal-broken" when somebody else wrote it. */
export async function anchorOf({ db, sealer }: Parts, chain: string): Promise<Anchor | undefined> {
  const [row] = await db.select().from(auditAnchors).where(eq(auditAnchors.chain, chain));
  if (!row) return undefined;
  const sealed = { keyId: row.sealedWith, ciphertext: row.sealed };
  await sealer.ready(platform);
  return JSON.parse(sealer.open(platform, context(chain), sealed).toString()) as Anchor;
}

async function keep({ db, sealer, now }: Parts, chain: string, anchor: Anchor): Promise<void> {
  const plain = Buffer.from(JSON.stringify(anchor));
  await sealer.ready(platform);
  const { keyId, ciphertext } = sealer.seal(platform, context(chain), plain);
  const row = { sealedWith: keyId, sealed: ciphertext, number: anchor.number, anchoredAt: now() };
  await db
    .insert(auditAnchors)
    .values({ chain, ...row })
    .onConflictDoUpdate({ target: auditAnchors.chain, set: row });
}

/** Every tenant that the audit has entries of. */
async function chainsOf({ nats }: Parts): Promise<string[]> {
  const info = valueOf(
    await api<{ state: { subjects?: Record<string, number> } }>(nats, "STREAM.INFO.AUDIT", {
      subjects_filter: "audit.*",
    }),
    "listing the chains of the audit",
  );
  const prefix = auditSubject("x").slice(0, -1);
  return Object.keys(info.state.subjects ?? {}).map((subject) => subject.slice(prefix.length));
}

/**
 * Checks what came behind each anchor and moves it there. A chain that is broken, or has lost its anchored end, keeps
 * its anchor and is logged as an error, each time. Answers how many those are; undefined after an abort.
 */
export async function anchorAudit(parts: Parts, signal?: AbortSignal): Promise<number | undefined> {
  let broken = 0;
  const stored = await parts.db.select({ chain: auditAnchors.chain }).from(auditAnchors);
  const chains = new Set([...stored.map(({ chain }) => chain), ...(await chainsOf(parts))]);
  for (const chain of chains) {
    if (signal?.aborted) return undefined;
    try {
      if (!(await anchorChain(parts, chain))) broken += 1;
    } catch (error) {
      broken += 1;
      parts.logger.error({ chain, err: classify(error) }, "the audit cannot be anchored");
    }
  }
  return broken;
}

/** False when the chain is broken. */
async function anchorChain(parts: Parts, chain: string): Promise<boolean> {
  const anchor = await anchorOf(parts, chain);
  const from = anchor && (await isInPlace(parts, chain, anchor)) ? anchor : undefined;
  for await (const step of verifyAudit(parts.nats, chain, { ...(from ? { from } : {}), anchor })) {
    if (step.broken) {
      parts.logger.error({ chain, ...step.broken }, "the chain of the audit is broken");
      return false;
    }
    if (!step.done || step.head.number <= (anchor?.number ?? 0)) continue;
    await keep(parts, chain, { ...step.head, position: step.position });
  }
  return true;
}

/** The anchored message is read again: where it is not what it was, the whole chain has to be gone through. */
async function isInPlace({ nats }: Parts, chain: string, anchor: Anchor): Promise<boolean> {
  for await (const { body, sequence } of readAudit(nats, chain, anchor.position - 1)) {
    return sequence === anchor.position && headOf(body)?.hash === anchor.hash;
  }
  return false;
}

const anchorLateMs = 3_600_000;

/** Chains whose head was not written down for an hour although there is more. */
export async function unanchored(parts: Parts): Promise<string[]> {
  const late = new Date(parts.now().getTime() - anchorLateMs);
  const stored = await parts.db.select().from(auditAnchors);
  const anchors = new Map(stored.map((row) => [row.chain, row]));
  const found: string[] = [];
  for (const chain of await chainsOf(parts)) {
    const row = anchors.get(chain);
    if (row && row.anchoredAt >= late) continue;
    const anchor = row && (await anchorOf(parts, chain));
    for await (const { sequence } of readAudit(parts.nats, chain, anchor?.position ?? 0)) {
      if (sequence > (anchor?.position ?? 0)) found.push(chain);
      break;
    }
  }
  return found;
}

/** Chains that are not as they were written, from the last anchor that is in its place on. */
export async function auditProblems(parts: Parts): Promise<{ chain: string; problem: string }[]> {
  const found: { chain: string; problem: string }[] = [];
  for (const chain of await chainsOf(parts)) {
    try {
      const anchor = await anchorOf(parts, chain);
      const from = anchor && (await isInPlace(parts, chain, anchor)) ? anchor : undefined;
      const options = { ...(from ? { from } : {}), anchor };
      for await (const { broken } of verifyAudit(parts.nats, chain, options)) {
        if (broken) found.push({ chain, problem: `entry ${broken.number} ${broken.problem}` });
      }
    } catch (error) {
      found.push({ chain, problem: classify(error).message });
    }
  }
  return found;
}

/**
 * Every minute: what was written since the last time could be cut off unnoticed. The replica that checked shows when
 * all chains were last whole, and how many are not.
 */
export function anchorTick(app: App): Tick {
  let wholeAt: number | undefined;
  let brokenNow: number | undefined;
  gauge("chom_audit_verified_timestamp_seconds", () =>
    wholeAt === undefined ? [] : [{ value: wholeAt / 1_000, labels: {} }],
  );
  gauge("chom_audit_broken_chains", () =>
    brokenNow === undefined ? [] : [{ value: brokenNow, labels: {} }],
  );
  return {
    name: "audit-anchors",
    everyMs: 60_000,
    async run(signal) {
      brokenNow = await anchorAudit(app, signal);
      if (brokenNow === 0) wholeAt = app.now().getTime();
    },
  };
}
