/** An alert as data: when it fires, what it says, and a case each of firing and of silence. */

/** Series by their selector, in promtool's notation: `0x60` is 0 and sixty times 0 again, `0+1x60` counts. */
export type Series = Readonly<Record<string, string>>;

export type Case = {
  readonly series: Series;
  /** When it is looked at, from the series' beginning. */
  readonly at: string;
  /** Between two samples, and between two evaluations; default 1m. */
  readonly every?: string;
};

export type Alert = {
  /** `Chom` and what is wrong. */
  readonly name: string;
  readonly expr: string;
  /** How long it must hold. */
  readonly for: string;
  /** `page` wakes a person, `ticket` waits for the morning. */
  readonly severity: "page" | "ticket";
  readonly summary: string;
  /** File in docs/runbooks, without `.md`. */
  readonly runbook: string;
  /** Fires with these labels beside the severity. */
  readonly firing: Case & { readonly labels?: Readonly<Record<string, string>> };
  readonly silent: Case;
};

/** A name for what several rules ask. */
export type Recording = { readonly record: string; readonly expr: string };
