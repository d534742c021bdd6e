/** Reads the fields of a request and collects every violation, so that a caller learns all of them at once. */
import { isIP } from "node:net";
import { domainToUnicode } from "node:url";
import { isId } from "../aggregate/id.ts";
import { type FieldViolation, invalid } from "../failure/failure.ts";

const protoName = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const labelPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Why a text is no host name of A-labels, or undefined when it is one. Linear in its length. */
function hostProblem(text: string): string | undefined {
  if (text.length > 253) return "must have at most 253 characters";
  if (/[A-Z]/.test(text)) return "must be lower case";
  const labels = text.split(".");
  if (labels.some((label) => label.length > 63)) return "must have labels of at most 63 characters";
  if (!labels.every((label) => labelPattern.test(label))) {
    return "must consist of labels of a-z, 0-9 and inner dashes, separated by single dots";
  }
  if (/^\d+$/.test(labels.at(-1) ?? "")) return "must not end in a number";
  const tagged = labels.filter((label) => label.startsWith("--", 2));
  const isValid = (label: string) => label.startsWith("xn--") && domainToUnicode(label) !== "";
  return tagged.every(isValid) ? undefined : "must have valid A-labels (xn--…)";
}

/** Why a text is no public domain name, or undefined when it is one: at least two labels, no IP, no trailing dot. */
export function domainProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (isIP(text) !== 0) return "must be a domain, not an IP address";
  if (text.endsWith(".")) return "must not end in a dot";
  if (text.startsWith("*")) return "must not be a wildcard";
  if (text.length <= 253 && !text.includes(".")) return "must have at least one dot";
  return hostProblem(text);
}

/** Why a text is neither IPv4, IPv6 (without zone) nor a host name, or undefined when it is one. */
export function addressProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (text.includes("%")) return "must not name a zone";
  return isIP(text) === 0 ? hostProblem(text) : undefined;
}

/** Control characters, line separators and bidirectional overrides: nothing that repaints a terminal or breaks a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/;

function textProblem(text: string, { min = 0, max }: { min?: number; max: number }) {
  if (text.length < min) return min === 1 ? "is required" : `must have at least ${min} characters`;
  if (text.length > max) return `must have at most ${max} characters`;
  return unprintable.test(text) ? "must not contain control characters" : undefined;
}

type EnumOf = Readonly<Record<string, string>>;
type IntRange = { min: number; max: number; default?: number };

/** Largest position or sequence that a number holds exactly. */
const largest = Number.MAX_SAFE_INTEGER;

/**
 * Readers of one request. Each answers a usable value even for a refused field, so that reading goes on; `done`
 * throws Failure `invalid` "invalid-request" with all violations. Absent proto fields are "", 0, [] or undefined.
 */
export function fieldsOf<Request extends object>(request: Request) {
  type Name = keyof Request & string;
  const violations: FieldViolation[] = [];
  const refuse = (name: string, description: string | undefined, index?: number): boolean => {
    if (description === undefined) return false;
    const field = protoName(name) + (index === undefined ? "" : `[${index}]`);
    violations.push({ field, description });
    return true;
  };
  const text = (name: Name): string => {
    const value = request[name];
    return typeof value === "string" ? value : "";
  };
  const list = (name: Name): readonly string[] => {
    const value = request[name];
    return Array.isArray(value) ? value.map(String) : [];
  };
  const idProblem = (value: string) =>
    value === ""
      ? "is required"
      : isId(value)
        ? undefined
        : "must be 1 to 64 characters of a-z, 0-9 and dash that begin with no dash";
  const member = (value: string, of: EnumOf) =>
    value !== of["UNSPECIFIED"] && Object.values(of).includes(value);
  const enumProblem = (value: string, of: EnumOf) =>
    member(value, of)
      ? undefined
      : `must be one of ${Object.entries(of)
          .flatMap(([key, name]) => (key === "UNSPECIFIED" ? [] : [name]))
          .join(", ")}`;

  function int(name: Name, { min, max, default: fallback }: IntRange): number {
    const value = Number(request[name] ?? 0);
    if (value === 0 && fallback !== undefined) return fallback;
    const fits = Number.isSafeInteger(value) && value >= min && value <= max;
    refuse(name, fits ? undefined : `must be ${min} to ${max}`);
    return fits ? value : min;
  }

  return {
    /** A required id as in aggregate/id.ts. */
    id(name: Name): string {
      refuse(name, idProblem(text(name)));
      return text(name);
    },
    /** An id, or "" when absent. */
    optionalId(name: Name): string {
      if (text(name) !== "") refuse(name, idProblem(text(name)));
      return text(name);
    },
    /** A required domain: lower case, A-labels, at most 253 characters, two labels or more, no IP, no wildcard. */
    domain(name: Name): string {
      refuse(name, domainProblem(text(name)));
      return text(name);
    },
    /** A required IPv4 or IPv6 address or host name. */
    address(name: Name): string {
      refuse(name, addressProblem(text(name)));
      return text(name);
    },
    /** A required text without control characters; lengths in UTF-16 units. */
    text(name: Name, limits: { min?: number; max: number }): string {
      refuse(name, textProblem(text(name), { min: 1, ...limits }));
      return text(name);
    },
    /** As `text`, or "" when absent. */
    optionalText(name: Name, limits: { max: number }): string {
      refuse(name, textProblem(text(name), limits));
      return text(name);
    },
    /** A required text of this shape; `shape` completes "must be …". The pattern must be linear and anchored. */
    matching(name: Name, pattern: RegExp, shape: string): string {
      if (text(name) === "") refuse(name, "is required");
      else refuse(name, pattern.test(text(name)) ? undefined : `must be ${shape}`);
      return text(name);
    },
    /** Texts of a repeated field, each as `text`; `items` bounds how many. */
    texts(name: Name, { max, items }: { max: number; items: { min?: number; max: number } }) {
      const values = list(name);
      const { min = 0, max: most } = items;
      const fits = values.length >= min && values.length <= most;
      if (!refuse(name, fits ? undefined : `must have ${min} to ${most} entries`)) {
        for (const [at, value] of values.entries()) {
          refuse(name, textProblem(value, { min: 1, max }), at);
        }
      }
      return values;
    },
    /** A required enum value; UNSPECIFIED and unknown ones are refused. */
    enum<E extends EnumOf>(name: Name, of: E): Exclude<E[keyof E], E["UNSPECIFIED"]> {
      refuse(name, enumProblem(text(name), of));
      return text(name) as Exclude<E[keyof E], E["UNSPECIFIED"]>;
    },
    /** An enum value, or undefined when UNSPECIFIED. */
    optionalEnum<E extends EnumOf>(
      name: Name,
      of: E,
    ): Exclude<E[keyof E], E["UNSPECIFIED"]> | undefined {
      const value = text(name);
      if (value === "" || value === of["UNSPECIFIED"]) return undefined;
      refuse(name, enumProblem(value, of));
      return value as Exclude<E[keyof E], E["UNSPECIFIED"]>;
    },
    /** Enum values of a repeated field, each once. */
    enums<E extends EnumOf>(name: Name, of: E): readonly Exclude<E[keyof E], E["UNSPECIFIED"]>[] {
      const values = [...new Set(list(name))];
      for (const [at, value] of values.entries()) refuse(name, enumProblem(value, of), at);
      return values as Exclude<E[keyof E], E["UNSPECIFIED"]>[];
    },
    /** A whole number (int32 or int64) within bounds; 0 counts as absent when there is a default. */
    int,
    /** `page_size`: 1 to 500, default 50. */
    pageSize: (name: Name = "pageSize" as Name): number =>
      int(name, { min: 1, max: 500, default: 50 }),
    /** A position or sequence: 0 or more. */
    position: (name: Name = "minPosition" as Name): number => int(name, { min: 0, max: largest }),
    /** A moment, or undefined when absent. */
    time(name: Name): Date | undefined {
      const value: unknown = request[name];
      if (!(value instanceof Date)) return undefined;
      const fits = !Number.isNaN(value.getTime());
      refuse(name, fits ? undefined : "must be a valid time");
      return fits ? value : undefined;
    },
    /** Refuses a field for a reason of the caller's own. */
    refuse: (name: Name, description: string): void => void refuse(name, description),
    /** Throws when anything was refused. */
    done(): void {
      if (violations.length > 0) throw invalid(violations);
    },
  };
}
