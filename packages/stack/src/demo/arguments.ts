/** The demo's flags. */
import { parseArgs } from "node:util";

export type DemoArguments = {
  readonly json: boolean;
  readonly keep: boolean;
  readonly overlapSeconds: number;
  readonly domain: string;
};

export const usage = `Runs the main job end to end on the embedded stack.

  npx -y pnpm@12.21.0 demo [flags]

  --json               end with one JSON document of the facts, progress on standard error
  --keep               leave the stack running and print how to reach it; Ctrl-C ends it
  --overlap=SECONDS    how long the old SSH key stays accepted (default 3)
  --help               this text

Exit code 0: every comparison held. 1: a comparison or a job failed. 2: bad flags.`;

/** Reads the flags; answers undefined for --help. Throws a plain Error with the reason for bad ones. */
export function readArguments(argv: readonly string[]): DemoArguments | undefined {
  const { values } = parseArgs({
    args: argv.filter((argument) => argument !== "--"),
    options: {
      json: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      overlap: { type: "string", default: "3" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const overlapSeconds = Number(values.overlap);
  if (!Number.isInteger(overlapSeconds) || overlapSeconds < 1 || overlapSeconds > 86_400) {
    throw new Error("--overlap must be 1 to 86400 seconds");
  }
  return { json: values.json, keep: values.keep, overlapSeconds, domain: "shop.chom.test" };
}
