/** The limits there are, by name, and how a setting changes them. */
import type { Rate } from "./sliding-window.ts";

/** What each limit allows for each of its keys. */
export const defaultLimits = {
  /** Orders per registered domain; Let's Encrypt takes 50 in 7 days. */
  "acme-orders": { count: 45, perMs: 7 * 86_400_000 },
  /** Orders of the whole account; Let's Encrypt takes 300 in 3 hours. */
  "acme-account": { count: 270, perMs: 3 * 3_600_000 },
  /** Sites made per server. */
  provisioning: { count: 30, perMs: 60_000 },
} as const satisfies Readonly<Record<string, Rate>>;

export type LimitName = keyof typeof defaultLimits;
export type Rates = Readonly<Record<LimitName, Rate>>;

const units: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const shape = /^([a-z0-9-]+)=(\d{1,4})\/(\d{1,5})([smhd])$/;
const isName = (name: string): name is LimitName => Object.hasOwn(defaultLimits, name);

/** Reads `acme-orders=45/7d,provisioning=30/1m`. Throws an Error that names what is wrong. */
export function ratesOf(setting: string | undefined): Rates {
  const rates: Record<LimitName, Rate> = { ...defaultLimits };
  for (const part of (setting ?? "").split(",").filter(Boolean)) {
    const [, name = "", count = "", time = "", unit = ""] = shape.exec(part.trim()) ?? [];
    const rate = { count: Number(count), perMs: Number(time) * (units[unit] ?? 0) };
    if (!isName(name)) throw new Error(`knows no limit in "${part}"`);
    if (rate.count < 1 || rate.count > 1_000 || rate.perMs < 1_000 || rate.perMs > 31 * 86_400_000)
      throw new Error(`"${part}" must be 1 to 1000 per 1s to 31d`);
    rates[name] = rate;
  }
  return rates;
}
