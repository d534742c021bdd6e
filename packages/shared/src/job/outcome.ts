/** What `work` may return beside a result. */

/** There was nothing to do. */
export type Skipped = { readonly outcome: "skipped"; readonly reason: string };
/** Come back later; costs no attempt. */
export type Deferred = {
  readonly outcome: "deferred";
  readonly until: Date;
  readonly code: string;
  readonly reason: string;
};
export type Outcome = Skipped | Deferred;

export const isOutcome = (value: unknown): value is Outcome =>
  typeof value === "object" &&
  value !== null &&
  "outcome" in value &&
  (value.outcome === "skipped" || value.outcome === "deferred");
