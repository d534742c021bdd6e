/** Whom a refusal turned away: the audit names them, the answer does not. */
import type { Failure } from "../failure/failure.ts";

type Who = { readonly tenant: string; readonly actor: string };

const known = new WeakMap<Failure, Who>();

/** The same failure, remembered as that of a caller who proved to be somebody. */
export function deniedTo(failure: Failure, { tenant, actor }: Who): Failure {
  known.set(failure, { tenant, actor });
  return failure;
}

/** Who was turned away; undefined when nobody proved to be anybody. */
export const whoWasDenied = (failure: Failure): Who | undefined => known.get(failure);
