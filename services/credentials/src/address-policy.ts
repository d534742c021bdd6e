/** Which addresses CHOM may connect to: public ones, unless the deployment allows its own networks. */
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { failureOf } from "@chom/shared/failure/failure";

const closed = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
] as const) {
  closed.addSubnet(net, bits, "ipv4");
}
for (const [net, bits] of [
  ["::", 96],
  ["64:ff9b::", 96],
  ["100::", 64],
  ["2002::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  closed.addSubnet(net, bits, "ipv6");
}

/** True for an IP address of a private, loopback, link-local or otherwise not public network. */
export const isClosed = (ip: string): boolean =>
  closed.check(ip, isIP(ip) === 6 ? "ipv6" : "ipv4") || /^::ffff:/i.test(ip);

/**
 * The IP address to connect to. A name is resolved here, once, and what it resolves to is checked: it cannot change
 * in between. Failure `ssh-unreachable` when it does not resolve, `invalid-config` when it is not allowed.
 */
export async function resolveAddress(address: string, allowPrivate: boolean): Promise<string> {
  const found = isIP(address)
    ? [{ address }]
    : await lookup(address, { all: true }).catch((cause: unknown) => {
        throw failureOf("ssh-unreachable", `${address} does not resolve`, { cause });
      });
  const usable = found.find((each) => allowPrivate || !isClosed(each.address));
  if (!usable) throw failureOf("invalid-config", `${address} is in a private network`);
  return usable.address;
}
