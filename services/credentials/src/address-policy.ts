/** Where a server may be: a registered address is checked again, and resolved, each time that it is connected to. */
import { Failure, failureOf } from "@chom/shared/failure/failure";
import type { Networks } from "@chom/shared/input/networks";
import { resolveIn } from "@chom/shared/input/resolve";

/**
 * The IP address to connect to. A name is resolved here, once, and what it resolves to is checked: it cannot change
 * in between. Failure `ssh-unreachable` when it does not resolve, `address-not-allowed` when any of it may not be reached.
 */
export async function resolveAddress(address: string, networks: Networks): Promise<string> {
  try {
    return (await resolveIn(networks, address))[0].address;
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw failureOf("ssh-unreachable", `${address} does not resolve`, { cause });
  }
}
