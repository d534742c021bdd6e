/** Scripts: shell files run on a server, with declared inputs and outputs. */
import type { Secret } from "../secrets/secret.ts";

/** What a script printed on descriptor 3 as `key=value` lines, with strict readers. */
export type Fields = {
  /** The only value of a key; Failure `protocol-error` when it is missing or repeated. */
  text(key: string): string;
  /** As `text`, but absent keys give the fallback. */
  optional(key: string, fallback: string): string;
  /** A non-negative safe integer. */
  count(key: string): number;
  /** `yes` or `no`. */
  flag(key: string): boolean;
  /** All values of a key that may repeat, in order; [] when absent. */
  lines(key: string): readonly string[];
  /** Decodes a base64 value; for anything that may hold a newline or a byte beyond ASCII. */
  base64(key: string): Buffer;
};

/** Values a script gets as shell variables of the same names. They travel as base64 on stdin, never on a command line. */
export type Variables = Readonly<Record<string, string | Secret<string>>>;

export type Script<Input, Output> = {
  /** The shell file; POSIX sh. */
  readonly file: URL;
  /** Its base name, for journals and messages. */
  readonly name: string;
  /** Time for one run; after it the process group on the server is ended. Failure `step-timeout`. */
  readonly timeoutMs: number;
  readonly variables: (input: Input) => Variables;
  readonly output: (fields: Fields) => Output;
};

/** Declares a script. */
export const script = <Input, Output>(definition: {
  file: URL;
  timeoutMs: number;
  variables: (input: Input) => Variables;
  output: (fields: Fields) => Output;
}): Script<Input, Output> => ({
  ...definition,
  name: definition.file.pathname.split("/").at(-1) ?? "script",
});
