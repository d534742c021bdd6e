/** The chain of one tenant's audit: each entry names its number and the hash of the one before. Pure. */
import { createHash } from "node:crypto";

/** What happened. Never holds the value of a field that is marked secret or personal. */
export type AuditFacts = {
  readonly id: string;
  /** ISO 8601, in UTC. */
  readonly at: string;
  /** Subject of the credential, or the service or job that acts by itself; empty when nobody was known. */
  readonly actor: string;
  readonly service: string;
  /** Path of a method, or a decision like `key.sign`. */
  readonly action: string;
  /** `asked` is written before the work, `done` or `failed` after it; `refused` had no right, `decided` is no call. */
  readonly outcome: "asked" | "done" | "failed" | "refused" | "decided";
  /** Of the failure; empty without one. */
  readonly code: string;
  readonly requestId: string;
  readonly reason: string;
  /** Ids by the name of their field. */
  readonly resources: Readonly<Record<string, string>>;
};

export type AuditEntry = AuditFacts & {
  readonly v: 1;
  readonly tenant: string;
  /** 1 for the first of a tenant. */
  readonly number: number;
  /** Hash of the entry before, in hex. */
  readonly previous: string;
};

/** Where a chain ends: its last number and that entry's hash. */
export type Head = { readonly number: number; readonly hash: string };

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The head of a chain without entries: bound to its tenant, so that no chain passes for another's. */
export const emptyHead = (tenant: string): Head => ({
  number: 0,
  hash: sha256(`chom audit ${tenant}`),
});

/** The one way to write an entry: keys in order, no space, so that the same facts are the same bytes. */
function canonical(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const keys = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${keys.map(([key, each]) => `${JSON.stringify(key)}:${canonical(each)}`).join(",")}}`;
}

/** The entries behind a head as one body, one line each, and the head after them. */
export function link(
  tenant: string,
  head: Head,
  facts: readonly AuditFacts[],
): { body: string; head: Head } {
  let { number, hash } = head;
  const lines = facts.map((each) => {
    number += 1;
    const line = canonical({ ...each, v: 1, tenant, number, previous: hash });
    hash = sha256(line);
    return line;
  });
  return { body: lines.join("\n"), head: { number, hash } };
}

/** The head that a stored body leaves. Undefined when its last line is no entry. */
export function headOf(body: string): Head | undefined {
  const line = body.slice(body.lastIndexOf("\n") + 1);
  const entry = parse(line);
  return entry && { number: entry.number, hash: sha256(line) };
}

/** The entries of a stored body; what is no entry is left out. */
export const entriesOf = (body: string): AuditEntry[] =>
  body.split("\n").flatMap((line) => parse(line) ?? []);

function parse(line: string): AuditEntry | undefined {
  try {
    const entry = JSON.parse(line) as AuditEntry;
    return Number.isSafeInteger(entry.number) && typeof entry.previous === "string"
      ? entry
      : undefined;
  } catch {
    return undefined;
  }
}

/** The first entry that is not what was written, by its number, and what is wrong with it. */
export type Broken = { readonly number: number; readonly problem: string };

/** A head that was written down elsewhere: the chain must pass it, or end there. */
export type Verifier = {
  /** Checks the next stored body; answers the first break, after which nothing may be taken any more. */
  take(body: string): Broken | undefined;
  /** Nothing follows: the chain must have reached the anchor. */
  end(): Broken | undefined;
  readonly head: Head;
};

/** Checks a chain from a head on, by default from its beginning. */
export function verifier(
  tenant: string,
  { from = emptyHead(tenant), anchor }: { from?: Head; anchor?: Head | undefined } = {},
): Verifier {
  let head = from;
  const passes = (): Broken | undefined =>
    anchor && head.number === anchor.number && head.hash !== anchor.hash
      ? { number: head.number, problem: "is another than the one that was anchored" }
      : undefined;
  const check = (line: string): Broken | undefined => {
    const wanted = head.number + 1;
    const entry = parse(line);
    if (!entry) return { number: wanted, problem: "is no entry" };
    const problem = problemOf(entry, { tenant, wanted, line });
    if (problem) return { number: wanted, problem };
    if (entry.previous !== head.hash) {
      return {
        number: Math.max(1, wanted - 1),
        problem: "does not have the hash that the next names",
      };
    }
    head = { number: entry.number, hash: sha256(line) };
    return passes();
  };
  return {
    take(body) {
      for (const line of body.split("\n")) {
        const broken = check(line);
        if (broken) return broken;
      }
      return undefined;
    },
    end: () =>
      anchor && head.number < anchor.number
        ? { number: head.number + 1, problem: `is missing, and all up to ${anchor.number}` }
        : passes(),
    get head() {
      return head;
    },
  };
}

function problemOf(
  entry: AuditEntry,
  { tenant, wanted, line }: { tenant: string; wanted: number; line: string },
): string | undefined {
  if (entry.tenant !== tenant) return "is of another tenant";
  if (entry.number > wanted) return `is missing: entry ${entry.number} follows`;
  if (entry.number < wanted) return `was inserted: it says it is entry ${entry.number}`;
  return canonical(entry) === line ? undefined : "is not written as entries are";
}
