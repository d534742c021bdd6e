/** Settings from the environment: read once, all bad ones reported together, unknown CHOM_* names refused. */
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { Failure } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";

/** Reads one variable's text; `undefined` when it is not set. Throws an Error whose message completes `NAME …`. */
export type Reader<T> = {
  readonly variable: string;
  readonly read: (text: string | undefined, isSet?: (variable: string) => boolean) => T;
};

export type Readers = Readonly<Record<string, Reader<unknown>>>;
export type Values<R extends Readers> = {
  readonly [Name in keyof R]: R[Name] extends Reader<infer T> ? T : never;
};

const missing = () => new Error("is not set");

/** `fallback` makes a setting optional; without it the variable must be set and not be empty. */
function reader<T, F = never>(
  variable: string,
  parse: (text: string) => T,
  options: { fallback?: F } = {},
): Reader<T | F> {
  return {
    variable,
    read: (text) => {
      if (text !== undefined && text !== "") return parse(text);
      if ("fallback" in options) return options.fallback as F;
      throw missing();
    },
  };
}

/** Any text. */
export const text = <F extends string | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<string | F> => reader<string, F>(variable, (value) => value, options);

/** One of these words. */
export const oneOf = <
  const Words extends readonly string[],
  F extends Words[number] | undefined = never,
>(
  variable: string,
  words: Words,
  options: { fallback?: F } = {},
): Reader<Words[number] | F> =>
  reader<Words[number], F>(
    variable,
    (value) => {
      if (!words.includes(value)) throw new Error(`must be one of ${words.join(", ")}`);
      return value;
    },
    options,
  );

/** An absolute URL, as it was written. */
export const url = <F extends string | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<string | F> =>
  reader<string, F>(
    variable,
    (value) => {
      if (!URL.canParse(value)) throw new Error("must be an absolute URL");
      return value;
    },
    options,
  );

/** `host:port`; port 0 to 65535. */
export const address = <F extends string | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<string | F> =>
  reader<string, F>(
    variable,
    (value) => {
      const [, port] = /^(?:[^:\s]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/.exec(value) ?? [];
      if (port === undefined || Number(port) > 65_535) throw new Error("must be host:port");
      return value;
    },
    options,
  );

type Range<F> = { min: number; max: number; fallback?: F };

/** A whole number within bounds. */
export const int = <F extends number | undefined = never>(
  variable: string,
  { min, max, ...options }: Range<F>,
): Reader<number | F> =>
  reader<number, F>(
    variable,
    (value) => {
      const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= min && number <= max)) {
        throw new Error(`must be a whole number from ${min} to ${max}`);
      }
      return number;
    },
    options,
  );

const unitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A duration like `500ms`, `30s`, `15m`, `12h` or `7d`, in milliseconds within bounds. */
export const durationMs = <F extends number | undefined = never>(
  variable: string,
  { min, max, ...options }: Range<F>,
): Reader<number | F> =>
  reader<number, F>(
    variable,
    (value) => {
      const [, count, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(value) ?? [];
      const ms = Number(count) * (unitsMs[unit ?? ""] ?? Number.NaN);
      if (!(ms >= min && ms <= max)) {
        throw new Error(`must be a duration like 30s or 15m, from ${min} to ${max} ms`);
      }
      return ms;
    },
    options,
  );

/** `true` or `false`. */
export const flag = <F extends boolean | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<boolean | F> =>
  reader<boolean, F>(
    variable,
    (value) => {
      if (value !== "true" && value !== "false") throw new Error("must be true or false");
      return value === "true";
    },
    options,
  );

/** Texts separated by commas, without the blanks around them. */
export const list = <F extends readonly string[] | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<readonly string[] | F> =>
  reader<readonly string[], F>(
    variable,
    (value) =>
      value
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== ""),
    options,
  );

/** The path of a file that can be read. */
export const file = <F extends string | undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<string | F> =>
  reader<string, F>(
    variable,
    (path) => {
      readable(path);
      return path;
    },
    options,
  );

/** What stands in a file that only its owner (and group) may read, without the last line break. */
export const secretFile = <F extends undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<Secret | F> =>
  reader<Secret, F>(
    variable,
    (path) => {
      readable(path);
      if ((statSync(path).mode & 0o007) !== 0) {
        throw new Error(`names a file that everyone may read: chmod 600 ${path}`);
      }
      const content = readFileSync(path, "utf8").replace(/\r?\n$/, "");
      if (content === "") throw new Error("names an empty file");
      return new Secret(content);
    },
    options,
  );

/** A secret in the variable itself: for development, because a process's environment is no place for one. */
export const secretText = <F extends undefined = never>(
  variable: string,
  options: { fallback?: F } = {},
): Reader<Secret | F> => reader<Secret, F>(variable, (value) => new Secret(value), options);

/** What can be left out when another variable is set. */
export const unlessSet = <T>(
  one: Reader<T>,
  variables: readonly string[],
): Reader<T | undefined> => ({
  variable: one.variable,
  read: (value, isSet) =>
    (value ?? "") === "" && isSet && variables.some(isSet) ? undefined : one.read(value, isSet),
});

function readable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new Error(`names a file that cannot be read: ${path}`);
  }
  if (!statSync(path).isFile()) throw new Error(`names what is no file: ${path}`);
}

/**
 * Reads all settings, frozen. Throws one Failure `operator` "bad-settings" whose message has a line for each bad or
 * unknown variable. Values are never part of it, but for paths.
 */
export function readSettings<R extends Readers>(
  readers: R,
  environment: Readonly<Record<string, string | undefined>>,
): Values<R> {
  const problems: string[] = [];
  const values = Object.entries(readers).map(([name, { variable, read }]) => {
    try {
      return [name, read(environment[variable], (other) => (environment[other] ?? "") !== "")];
    } catch (error) {
      problems.push(`${variable} ${error instanceof Error ? error.message : "is bad"}`);
      return [name, undefined];
    }
  });
  const known = new Set(Object.values(readers).map(({ variable }) => variable));
  for (const variable of Object.keys(environment)) {
    if (variable.startsWith("CHOM_") && !known.has(variable)) {
      problems.push(`${variable} is not a setting of this service`);
    }
  }
  if (problems.length > 0) {
    const message = `these settings are bad:\n  ${problems.toSorted().join("\n  ")}`;
    throw new Failure("operator", "bad-settings", message);
  }
  return Object.freeze(Object.fromEntries(values)) as Values<R>;
}
