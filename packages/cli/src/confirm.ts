/** Asking before what cannot be taken back; for many things, also for the name of the environment they are in. */
import { createInterface } from "node:readline/promises";
import { rejected } from "@chom/shared/failure/failure";
import { Option } from "commander";

/** More things than this want the environment's name typed back. */
const manyThings = 100;

/** What was given on the command line. */
export type Consent = { readonly force?: boolean; readonly environment?: string };

type Danger = {
  readonly question: string;
  /** How many things go; `Infinity` when that is not known before. */
  readonly count: number;
  /** The name in the context file; without one only yes or no is asked. */
  readonly environment: string | undefined;
};

export type Terminal = {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  readonly isTerminal: boolean;
};
const ownTerminal = (): Terminal => ({
  input: process.stdin,
  output: process.stderr,
  isTerminal: process.stdin.isTTY,
});

/** `--environment <name>`, beside `--force`. */
export const environmentOption = (): Option =>
  new Option(
    "--environment <name>",
    `the environment's name in the context file; --force needs it for more than ${manyThings} things`,
  ).env("CHOM_ENVIRONMENT_NAME");

/**
 * Returns when a person says yes and, where more than `manyThings` go, types the environment's name; or when `force` is
 * given, with that name where it is wanted. Throws `rejected`: "wrong-environment" when another name was given,
 * "not-confirmed" after any other answer, "confirmation-needed" where there is no terminal to ask on.
 */
export async function confirmed(
  danger: Danger,
  consent: Consent,
  { input, output, isTerminal }: Terminal = ownTerminal(),
): Promise<void> {
  const { question, count, environment } = danger;
  const given = consent.environment;
  if (given !== undefined && given !== environment) {
    const is = environment === undefined ? "a context without a name" : `"${environment}"`;
    throw rejected("wrong-environment", `this is ${is}, not "${given}": nothing was done`);
  }
  const wanted = count > manyThings && given === undefined ? environment : undefined;
  if (consent.force) {
    if (wanted === undefined) return;
    const what = `${question} --force alone is not enough for so many things`;
    throw rejected("confirmation-needed", `${what}: add --environment ${wanted}`);
  }
  if (!isTerminal) {
    throw rejected("confirmation-needed", `${question} there is no terminal to ask on`);
  }
  const lines = createInterface({ input, output });
  try {
    const answer = await lines.question(`${question} [y/N] `);
    if (!/^y(?:es)?$/i.test(answer.trim())) throw rejected("not-confirmed", "nothing was done");
    if (wanted === undefined) return;
    const name = await lines.question(`Type the name of the environment (${wanted}) to go on: `);
    if (name.trim() !== wanted) throw rejected("not-confirmed", "nothing was done");
  } finally {
    lines.close();
  }
}
