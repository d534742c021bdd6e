/** What a key may do beside being ours: the options of its line in authorized_keys, for the whole fleet. */
import { isIP, isIPv4 } from "node:net";
import { oneOf } from "@chom/shared/service/settings";

export type KeyLines = {
  /** Addresses and networks from which sshd takes the key, comma-separated; empty: from everywhere. */
  readonly from: string;
  /** Whether the key may start nothing but the runner (`packages/shared/src/script/runner.sh`). */
  readonly runner: boolean;
};

/** As sshd's manual has it: `restrict` alone, which is always there. */
export const plainLines: KeyLines = { from: "", runner: false };

function isSource(item: string): boolean {
  const [address = "", bits, ...more] = item.split("/");
  if (isIP(address) === 0 || address.includes("%") || more.length > 0) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIPv4(address) ? 32 : 128))
  );
}

/** A setting: addresses and networks in CIDR notation, separated by commas; left out: empty. */
const sources = (variable: string) => ({
  variable,
  read: (text: string | undefined): string => {
    const items = (text ?? "").split(",").flatMap((item) => item.trim() || []);
    const odd = items.find((item) => !isSource(item));
    if (odd !== undefined) throw new Error(`must list addresses and networks, not "${odd}"`);
    return items.join(",");
  },
});

export const keyLineSettings = {
  keyFrom: sources("CHOM_SSH_FROM"),
  keyRunner: oneOf("CHOM_SSH_RUNNER", ["off", "on"], { fallback: "off" }),
};
