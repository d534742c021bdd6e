/** Reads the fields of a request and collects every violation, so that a caller learns all of them at once. */
import { type FieldViolation, invalid } from "../failure/failure.ts";
import type { Grammar } from "../input/grammar.ts";
import { addressProblem, domainProblem } from "../input/host.ts";
import { idProblem } from "../input/names.ts";
import { textProblem } from "../input/text.ts";

const protoName = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

type EnumOf = Readonly<Record<string, string>>;
/** A value of a generated enum that says something. */
type Said<E extends EnumOf> = Exclude<E[keyof E], E["UNSPECIFIED"]>;
type IntRange = { min: number; max: number; default?: number };

/** Largest position or sequence that a number holds exactly. */
const largest = Number.MAX_SAFE_INTEGER;

function enumProblem(value: string, of: EnumOf): string | undefined {
  const known = Object.entries(of).flatMap(([key, name]) => (key === "UNSPECIFIED" ? [] : [name]));
  return known.includes(value) ? undefined : `must be one of ${known.join(", ")}`;
}

/** Raw values of a request, and what of them was refused. */
type Collector<Name extends string> = {
  readonly violations: readonly FieldViolation[];
  /** Keeps a violation, when there is a description of one; answers whether. */
  refuse(name: Name, description: string | undefined, index?: number): boolean;
  value(name: Name): unknown;
  text(name: Name): string;
  list(name: Name): readonly string[];
};

function collectorOf<Request extends object>(request: Request): Collector<keyof Request & string> {
  type Name = keyof Request & string;
  const violations: FieldViolation[] = [];
  return {
    violations,
    refuse(name: Name, description: string | undefined, index?: number): boolean {
      if (description === undefined) return false;
      const field = protoName(name) + (index === undefined ? "" : `[${index}]`);
      violations.push({ field, description });
      return true;
    },
    value: (name: Name): unknown => request[name],
    text(name: Name): string {
      const value = request[name];
      return typeof value === "string" ? value : "";
    },
    list(name: Name): readonly string[] {
      const value = request[name];
      return Array.isArray(value) ? value.map(String) : [];
    },
  };
}

function textReaders<Name extends string>(from: Collector<Name>) {
  const checked = (name: Name, problem: (value: string) => string | undefined): string => {
    const value = from.text(name);
    from.refuse(name, problem(value));
    return value;
  };
  return {
    /** A required id as in aggregate/id.ts. */
    id: (name: Name): string => checked(name, idProblem),
    /** An id, or "" when absent. */
    optionalId: (name: Name): string =>
      checked(name, (value) => (value === "" ? undefined : idProblem(value))),
    /** A required domain: lower case, A-labels, at most 253 characters, two labels or more, no IP, no wildcard. */
    domain: (name: Name): string => checked(name, domainProblem),
    /** A required IPv4 or IPv6 address or host name. */
    address: (name: Name): string => checked(name, addressProblem),
    /** A required text without control characters; lengths in UTF-16 units. */
    text: (name: Name, limits: { min?: number; max: number }): string =>
      checked(name, (value) => textProblem(value, { min: 1, ...limits })),
    /** As `text`, or "" when absent. */
    optionalText: (name: Name, limits: { max: number }): string =>
      checked(name, (value) => textProblem(value, limits)),
    /** A required text of this grammar. */
    fitting: (name: Name, grammar: Grammar): string =>
      checked(name, (value) => (value === "" ? "is required" : grammar(value))),
    /** As `fitting`, or "" when absent. */
    optionalFitting: (name: Name, grammar: Grammar): string =>
      checked(name, (value) => (value === "" ? undefined : grammar(value))),
    /** Texts of a repeated field, each as `text`; `items` bounds how many. */
    texts(name: Name, { max, items }: { max: number; items: { min?: number; max: number } }) {
      const values = from.list(name);
      const { min = 0, max: most } = items;
      const fits = values.length >= min && values.length <= most;
      if (!from.refuse(name, fits ? undefined : `must have ${min} to ${most} entries`)) {
        for (const [at, value] of values.entries()) {
          from.refuse(name, textProblem(value, { min: 1, max }), at);
        }
      }
      return values;
    },
    /** A required enum value; UNSPECIFIED and unknown ones are refused. */
    enum: <E extends EnumOf>(name: Name, of: E): Said<E> =>
      checked(name, (value) => enumProblem(value, of)) as Said<E>,
    /** An enum value, or undefined when UNSPECIFIED. */
    optionalEnum<E extends EnumOf>(name: Name, of: E): Said<E> | undefined {
      const value = from.text(name);
      if (value === "" || value === of["UNSPECIFIED"]) return undefined;
      return checked(name, () => enumProblem(value, of)) as Said<E>;
    },
    /** Enum values of a repeated field, each once. */
    enums<E extends EnumOf>(name: Name, of: E): readonly Said<E>[] {
      const values = [...new Set(from.list(name))];
      for (const [at, value] of values.entries()) from.refuse(name, enumProblem(value, of), at);
      return values as Said<E>[];
    },
  };
}

/**
 * Readers of one request. Each answers a usable value even for a refused field, so that reading goes on; `done`
 * throws Failure `invalid` "invalid-request" with all violations. Absent proto fields are "", 0, [] or undefined.
 */
export function fieldsOf<Request extends object>(request: Request) {
  type Name = keyof Request & string;
  const from = collectorOf(request);
  function int(name: Name, { min, max, default: fallback }: IntRange): number {
    const value = Number(from.value(name) ?? 0);
    if (value === 0 && fallback !== undefined) return fallback;
    const fits = Number.isSafeInteger(value) && value >= min && value <= max;
    from.refuse(name, fits ? undefined : `must be ${min} to ${max}`);
    return fits ? value : min;
  }
  return {
    ...textReaders(from),
    /** A whole number (int32 or int64) within bounds; 0 counts as absent when there is a default. */
    int,
    /** `page_size`: 1 to 500, default 50. */
    pageSize: (name: Name = "pageSize" as Name): number =>
      int(name, { min: 1, max: 500, default: 50 }),
    /** A position or sequence: 0 or more. */
    position: (name: Name = "minPosition" as Name): number => int(name, { min: 0, max: largest }),
    /** A moment, or undefined when absent. */
    time(name: Name): Date | undefined {
      const value = from.value(name);
      if (!(value instanceof Date)) return undefined;
      const fits = !Number.isNaN(value.getTime());
      from.refuse(name, fits ? undefined : "must be a valid time");
      return fits ? value : undefined;
    },
    /** Refuses a field for a reason of the caller's own. */
    refuse: (name: Name, description: string): void => void from.refuse(name, description),
    /** Throws when anything was refused. */
    done(): void {
      if (from.violations.length > 0) throw invalid(from.violations);
    },
  };
}
