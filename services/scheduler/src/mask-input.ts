/** A job's input for people: what looks secret or is personal is masked, by declaration, by name and by shape. */
import { sensitiveFields } from "@chom/proto/personal";
import { scrub } from "@chom/shared/secrets/scrub";

const mask = "[masked]";
const declared = new Set(sensitiveFields.map((name) => name.toLowerCase()));

/** Parts of names that hold secrets or say who somebody is. Ids and names of sites and servers stay readable. */
const sensitive =
  /passw|passphrase|secret|token|credential|api_?key|private_?key|access_?key|auth|cookie|session|salt|mail|phone|contact|first_?name|last_?name|full_?name|address|birth|iban|card/i;
const textMax = 4_096;
const deepest = 12;

const isSensitive = (name: string): boolean =>
  declared.has(name.toLowerCase()) || sensitive.test(name);

/** A copy with masked fields; texts are scrubbed of key shapes. Total: any JSON value gives one. */
export function maskInput(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return scrub(value, textMax);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= deepest) return "[…]";
  if (Array.isArray(value)) return value.map((item) => maskInput(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => {
      const isEmpty = part === null || part === "" || typeof part === "boolean";
      return [name, isSensitive(name) && !isEmpty ? mask : maskInput(part, depth + 1)];
    }),
  );
}
