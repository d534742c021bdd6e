/** Asking before what cannot be taken back. */
import { createInterface } from "node:readline/promises";
import { rejected } from "@chom/shared/failure/failure";

/**
 * Returns when a person says yes, or when `force` is given. Throws `rejected`: "not-confirmed" after any other answer,
 * "confirmation-needed" where there is no terminal to ask on.
 */
export async function confirmed(question: string, force: boolean): Promise<void> {
  if (force) return;
  if (!process.stdin.isTTY) {
    throw rejected("confirmation-needed", `${question} there is no terminal to ask on`);
  }
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await asking.question(`${question} [y/N] `);
    if (!/^y(?:es)?$/i.test(answer.trim())) throw rejected("not-confirmed", "nothing was done");
  } finally {
    asking.close();
  }
}
