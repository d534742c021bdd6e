/** Asks DNS, before the CA does, whether a name leads to the server and whether the CA may issue for it. */
import { type CaaRecord, NODATA, NOTFOUND } from "node:dns";
import { Resolver } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

export type DnsAnswer =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly code: "dns-not-pointed" | "aaaa-wrong" | "caa-forbids" | "dns-unavailable";
      /** For the owner of the name. */
      readonly reason: string;
    };

export type DnsQuestion = {
  /** A-labels, lower case. */
  readonly domain: string;
  /** Where visitors reach the server, IPv4 and IPv6. */
  readonly addresses: readonly string[];
  /** Names of the CA in CAA records; [] skips that question. */
  readonly caaIdentities: readonly string[];
};

/** The three questions; each gives [] when the name or the records do not exist, and rejects when nobody answers. */
export type NameServers = {
  ipv4(name: string): Promise<readonly string[]>;
  ipv6(name: string): Promise<readonly string[]>;
  caa(name: string): Promise<readonly CaaRecord[]>;
};

const timeoutMs = 3_000;
const tries = 2;
const maxShown = 8;

/** Questions to these servers (`1.2.3.4`, `1.2.3.4:53`, `[::1]:53`); without any, to the system's. */
export function nameServers(servers: readonly string[]): NameServers {
  const resolver = new Resolver({ timeout: timeoutMs, tries });
  if (servers.length > 0) resolver.setServers(servers);
  return {
    ipv4: (name) => orNone(resolver.resolve4(name)),
    ipv6: (name) => orNone(resolver.resolve6(name)),
    caa: (name) => orNone(resolver.resolveCaa(name)),
  };
}

async function orNone<T>(asked: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await asked;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === NODATA || code === NOTFOUND) return [];
    throw error;
  }
}

const no = (code: Exclude<DnsAnswer, { ok: true }>["code"], reason: string): DnsAnswer => ({
  ok: false,
  code,
  reason,
});
const shown = (addresses: readonly string[]): string => addresses.slice(0, maxShown).join(", ");

/**
 * True only when every A and AAAA record is the server's, there is one, and CAA lets this CA issue over HTTP.
 * A name server that fails or is silent is `dns-unavailable`: it says nothing about the name.
 */
export async function dnsPointsAt(question: DnsQuestion, dns: NameServers): Promise<DnsAnswer> {
  const { domain, addresses, caaIdentities } = question;
  const own = new BlockList();
  for (const address of addresses) own.addAddress(address, isIP(address) === 6 ? "ipv6" : "ipv4");
  try {
    const [ipv4, ipv6] = await Promise.all([dns.ipv4(domain), dns.ipv6(domain)]);
    const strange4 = ipv4.filter((address) => !own.check(address, "ipv4"));
    const strange6 = ipv6.filter((address) => !own.check(address, "ipv6"));
    const wanted = `it should be ${shown(addresses)}`;
    if (ipv4.length + ipv6.length === 0) {
      return no("dns-not-pointed", `${domain} has no A or AAAA record; ${wanted}`);
    }
    if (strange4.length > 0) {
      return no("dns-not-pointed", `${domain} points to ${shown(strange4)}; ${wanted}`);
    }
    if (strange6.length > 0) {
      return no("aaaa-wrong", `${domain} has the AAAA record ${shown(strange6)}; ${wanted}`);
    }
    return caaIdentities.length === 0 ? { ok: true } : await caaAllows(domain, caaIdentities, dns);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return no(
      "dns-unavailable",
      `the name servers of ${domain} gave no answer (${code ?? message})`,
    );
  }
}

/** RFC 8659 section 3: the closest set of records going up from the name decides, and an empty one decides nothing. */
async function caaAllows(
  domain: string,
  identities: readonly string[],
  dns: NameServers,
): Promise<DnsAnswer> {
  const labels = domain.split(".");
  for (let from = 0; from < labels.length; from += 1) {
    const name = labels.slice(from).join(".");
    const records = await dns.caa(name);
    if (records.length > 0) return judgeCaa(name, records, identities);
  }
  return { ok: true };
}

const knownTags = ["issue", "issuewild", "iodef", "contactemail", "contactphone"];
const isCritical = (record: CaaRecord): boolean => (record.critical & 0x80) !== 0;

function judgeCaa(
  name: string,
  records: readonly CaaRecord[],
  identities: readonly string[],
): DnsAnswer {
  const strange = records.find(
    (record) => isCritical(record) && !knownTags.some((tag) => Object.hasOwn(record, tag)),
  );
  if (strange) return no("caa-forbids", `${name} has a critical CAA record that no CA understands`);
  const issue = records.map((record) => record.issue).filter((value) => value !== undefined);
  if (issue.length === 0 || issue.some((value) => permits(value, identities))) return { ok: true };
  const allowed = issue
    .map((value) => `"${value}"`)
    .slice(0, maxShown)
    .join(", ");
  return no(
    "caa-forbids",
    `CAA records of ${name} allow ${allowed}, not ${identities.join(" or ")}`,
  );
}

/** `ca.example; validationmethods=http-01,dns-01`: the parameters of RFC 8657 count too. */
function permits(value: string, identities: readonly string[]): boolean {
  const [issuer, ...parameters] = value.split(";").map((part) => part.trim());
  if (!identities.some((identity) => identity.toLowerCase() === issuer?.toLowerCase()))
    return false;
  const methods = parameters.find((part) => part.toLowerCase().startsWith("validationmethods="));
  return methods === undefined || methods.split("=")[1]?.split(",").includes("http-01") === true;
}
