/** Which networks CHOM may connect to: the public internet, and what the configuration allows besides. */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** This host, private, shared by carriers, link-local with the clouds' metadata, benchmarks, multicast, reserved. */
const closed4 = [
  "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.88.99.0/24",
  // A cloud's metadata in a public network.
  "192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32",
].join(" ");
/** As above; also all that carry an IPv4 address inside: mapped, compatible, translated, NAT64, Teredo, 6to4. */
const closed6 = [
  "::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2002::/16",
  "fc00::/7 fe80::/10 fec0::/10 ff00::/8",
].join(" ");

/** Two lists: in one, the rule for mapped addresses would match every IPv4 address. */
type Lists = { readonly ipv4: BlockList; readonly ipv6: BlockList };

function listsOf(subnets: readonly string[]): Lists {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const subnet of subnets) {
    const slash = subnet.lastIndexOf("/");
    const [net, bits] = [subnet.slice(0, slash), subnet.slice(slash + 1)];
    const family = isIPv4(net) ? "ipv4" : "ipv6";
    const most = family === "ipv4" ? 32 : 128;
    if (isIP(net) === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > most || net.includes("%")) {
      throw new Error(`must list networks like 10.0.0.0/8, not "${subnet}"`);
    }
    lists[family].addSubnet(net, Number(bits), family);
  }
  return lists;
}

const closed = listsOf(`${closed4} ${closed6}`.split(" "));

const isIn = (lists: Lists, ip: string): boolean =>
  isIPv4(ip) ? lists.ipv4.check(ip, "ipv4") : lists.ipv6.check(ip, "ipv6");

/** True for an address that is nobody's own; false for anything else, text and addresses with a zone included. */
export const isPublicAddress = (ip: string): boolean =>
  (isIPv4(ip) || (isIPv6(ip) && !ip.includes("%"))) && !isIn(closed, ip);

/** What may be connected to. */
export type Networks = { readonly allows: (ip: string) => boolean };

/** Public addresses, and these networks in CIDR notation. Throws an Error that completes "<setting> …". */
export function networksOf(allowed: readonly string[]): Networks {
  const open = listsOf(allowed);
  return {
    allows: (ip) => isPublicAddress(ip) || (isIP(ip) !== 0 && !ip.includes("%") && isIn(open, ip)),
  };
}

/** Public addresses only. */
export const publicOnly: Networks = networksOf([]);

/** A setting, as service/settings.ts reads them: networks in CIDR notation, separated by commas; left out: none. */
export const networks = (variable: string) => ({
  variable,
  read: (text: string | undefined): Networks =>
    networksOf((text ?? "").split(",").flatMap((item) => item.trim() || [])),
});
