/** `key=value` words as the JSON of a request, by the contract's own field types. */
import { schemaOf } from "@chom/shared/rpc/request-json";
import { InvalidArgumentError } from "commander";

type Field = ReturnType<typeof schemaOf>["fields"][number];
type Json = string | boolean | Json[] | { [key: string]: Json };

/** Number of the type bool in a descriptor. */
const booleanScalar = 8;
const bools: Readonly<Record<string, boolean>> = { true: true, false: false };

/** `full` → `BACKUP_KIND_FULL`: the ending of one of the enum's names. */
function memberOf(field: Field & { fieldKind: "enum" }, value: string): string {
  const ending = value.toUpperCase().replaceAll("-", "_");
  const names = field.enum.values.map(({ name }) => name);
  const found = names.find((name) => name === ending || name.endsWith(`_${ending}`));
  if (found) return found;
  throw new InvalidArgumentError(`${field.name} must be one of ${names.slice(1).join(", ")}`);
}

function valueOf(field: Field, value: string): Json {
  if (field.fieldKind === "enum") return memberOf(field, value);
  if (field.fieldKind !== "scalar") {
    throw new InvalidArgumentError(`${field.name} is no single value: give it with --input`);
  }
  // Text and numbers are both written as text in JSON.
  if ((field.scalar as number) !== booleanScalar) return value;
  const bool = bools[value];
  if (bool === undefined) throw new InvalidArgumentError(`${field.name} must be true or false`);
  return bool;
}

const namesOf = (fields: readonly Field[]): string =>
  fields.flatMap(({ name }) => (name === "request_id" ? [] : [name])).join(", ");

/** The JSON of a request of this type with these words over `input`; a word may name a field as in proto or JSON. */
export function wordsToJson(
  type: string,
  words: readonly string[],
  input: Record<string, Json>,
): Record<string, Json> {
  const { fields } = schemaOf(type);
  const json = { ...input };
  for (const word of words) {
    const at = word.indexOf("=");
    const key = word.slice(0, Math.max(at, 0));
    const field = fields.find(({ name, jsonName }) => name === key || jsonName === key);
    if (at < 1 || !field) {
      throw new InvalidArgumentError(`"${word}" is no key=value; keys are ${namesOf(fields)}`);
    }
    json[field.jsonName] = valueOf(field, word.slice(at + 1));
  }
  return json;
}

/** The fields of a request, for people. */
export const fieldsIn = (type: string): string => namesOf(schemaOf(type).fields);
