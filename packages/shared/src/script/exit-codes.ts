/** What an unsuccessful end of a script means: its own code first, the exit status next, its words last. */
import { type Failure, failureOf } from "../failure/failure.ts";

export type Ending = {
  readonly script: string;
  readonly status: number;
  /** What the script itself said with `fail CODE`. */
  readonly error: string | undefined;
  readonly timedOut: boolean;
  /** Scrubbed end of what it printed. */
  readonly tail: string;
};

const codeShape = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;

const statuses: ReadonlyMap<number, string> = new Map([
  [126, "permission-denied"],
  [127, "tool-missing"],
  [137, "out-of-memory"],
]);

const phrases: readonly (readonly [RegExp, string])[] = [
  [/no space left on device|ENOSPC/i, "disk-full"],
  [/disk quota exceeded|EDQUOT/i, "quota-full"],
  [
    /permission denied|operation not permitted|read-only file system|EACCES|EROFS/i,
    "permission-denied",
  ],
];

/** The code that the words of a failed command suggest; undefined when they say nothing known. */
export const codeOfText = (text: string): string | undefined =>
  phrases.find(([phrase]) => phrase.test(text))?.[1];

/** The failure of a script that ended with a status other than 0, or after its time was over. */
export function failureOfEnding({ script, status, error, timedOut, tail }: Ending): Failure {
  const last = tail.trimEnd().split("\n").at(-1)?.trim() ?? "";
  const said = last === "" ? "" : `: ${last}`;
  if (timedOut) return failureOf("step-timeout", `${script} ran out of time and was ended${said}`);
  if (error !== undefined) {
    return codeShape.test(error) && error.length <= 64
      ? failureOf(error, `${script} failed with ${error}${said}`)
      : failureOf("protocol-error", `${script} failed with a code that is none`);
  }
  const code = statuses.get(status) ?? codeOfText(tail) ?? "unexpected";
  return failureOf(code, `${script} ended with status ${status}${said}`);
}
