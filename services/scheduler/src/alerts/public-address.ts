/** Which addresses belong to the public internet: a webhook must not be a way into our own network. */
import { BlockList, isIPv4, isIPv6 } from "node:net";

// Two lists: in one, the rule for mapped addresses would match every IPv4 address.
const reserved = { ipv4: new BlockList(), ipv6: new BlockList() };
const subnets4 = [
  "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24",
  "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4",
].join(" ");
// Also those that carry an IPv4 address inside: 6to4, Teredo, NAT64.
const subnets6 =
  "::/128 ::1/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:db8::/32 2002::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8";
for (const subnet of subnets4.split(" ")) add(subnet, "ipv4");
for (const subnet of subnets6.split(" ")) add(subnet, "ipv6");

function add(subnet: string, family: "ipv4" | "ipv6"): void {
  const slash = subnet.lastIndexOf("/");
  reserved[family].addSubnet(subnet.slice(0, slash), Number(subnet.slice(slash + 1)), family);
}

/** True for an address that anybody on the internet could have; false for anything else, text included. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !reserved.ipv4.check(address, "ipv4");
  return isIPv6(address) && !reserved.ipv6.check(address, "ipv6");
}
