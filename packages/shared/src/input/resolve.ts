/** From names to addresses that may be connected to: resolved once, checked, and that very address is used. */
import { lookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import { failureOf } from "../failure/failure.ts";
import type { Networks } from "./networks.ts";

export type Resolved = { readonly address: string; readonly family: number };
/** All addresses of a name. */
export type Resolver = (host: string) => Promise<readonly Resolved[]>;

const system: Resolver = (host) => lookup(host, { all: true });

/**
 * The addresses of a name or of a literal address, all of them allowed: a name that also has another one is somebody's
 * way in. Failure `address-not-allowed`; what the resolver throws passes.
 */
export async function resolveIn(
  networks: Networks,
  host: string,
  resolver: Resolver = system,
): Promise<readonly [Resolved, ...Resolved[]]> {
  const found = isIP(host) ? [{ address: host, family: isIP(host) }] : await resolver(host);
  const [first, ...others] = found;
  if (!first || !found.every(({ address }) => networks.allows(address))) {
    throw failureOf("address-not-allowed", `${host} is in a network that is not allowed`);
  }
  return [first, ...others];
}

/** For `node:http` and `node:net`: what they connect to is what was checked here. Literal addresses never get here. */
export const lookupIn = (networks: Networks, resolver?: Resolver): LookupFunction => {
  const answer = async (...[host, options, done]: Parameters<LookupFunction>): Promise<void> => {
    let found: Awaited<ReturnType<typeof resolveIn>>;
    try {
      found = await resolveIn(networks, host, resolver);
    } catch (error) {
      done(error as Error, "", 0);
      return;
    }
    if (options.all) done(null, [...found]);
    else done(null, found[0].address, found[0].family);
  };
  return (...asked) => void answer(...asked);
};
