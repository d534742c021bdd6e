/** Messages as JSON Schema, in the canonical proto3 form in which events are stored. */
import { at, type Contract, type Field, type File, option } from "./contract.ts";

type Schema = Readonly<Record<string, unknown>>;

const scalars: Readonly<Record<string, Schema>> = {
  TYPE_STRING: { type: "string" },
  TYPE_BOOL: { type: "boolean" },
  TYPE_INT32: { type: "integer", format: "int32" },
  TYPE_UINT32: { type: "integer", minimum: 0 },
  TYPE_DOUBLE: { type: "number" },
  // 64 bits do not fit a JSON number.
  TYPE_INT64: { type: "string", format: "int64", pattern: "^-?[0-9]+$" },
  TYPE_UINT64: { type: "string", format: "uint64", pattern: "^[0-9]+$" },
  TYPE_BYTES: { type: "string", contentEncoding: "base64" },
};

const wellKnown: Readonly<Record<string, Schema>> = {
  ".google.protobuf.Timestamp": { type: "string", format: "date-time" },
  ".google.protobuf.Duration": { type: "string" },
  ".google.protobuf.Struct": { type: "object" },
};

/** The prefix that enum values share with their enum is not in the JSON: `BACKUP_KIND_FULL` is `FULL`. */
const shortName = (enumName: string, value: string): string => {
  const prefix = `${enumName.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toUpperCase()}_`;
  return value.startsWith(prefix) ? value.slice(prefix.length) : value;
};

function schemaOfField(contract: Contract, field: Field): Schema {
  const { type, typeName = "" } = field;
  const known = wellKnown[typeName] ?? scalars[type];
  if (known) return known;
  const values = contract.enums.get(typeName);
  if (values) {
    return { type: "string", enum: values.value.map(({ name }) => shortName(values.name, name)) };
  }
  const message = contract.messages.get(typeName);
  if (message?.options?.["mapEntry"] === true) {
    const value = message.field?.find(({ name }) => name === "value");
    return {
      type: "object",
      additionalProperties: value ? schemaOfField(contract, value) : {},
    };
  }
  return { $ref: `#/components/schemas/${typeName.slice(1)}` };
}

/** The schema of one message of a file; what its fields refer to stands beside it. */
export function schemaOf(contract: Contract, file: File, index: number): Schema {
  const message = file.messageType?.[index];
  const properties = (message?.field ?? []).map((field, place) => {
    const description = contract.comment(file, [at.message, index, at.field, place]);
    const isMap = contract.messages.get(field.typeName ?? "")?.options?.["mapEntry"] === true;
    const one = schemaOfField(contract, field);
    const schema = field.label === "LABEL_REPEATED" && !isMap ? { type: "array", items: one } : one;
    const isPersonal = option(field.options, "personal") === true;
    const says = [description, isPersonal ? "Personal: sealed per tenant in the log." : ""];
    const text = says.filter((part) => part !== "").join(" ");
    // A reference stands alone in draft 7, so what is said of it wraps it.
    const told = text === "" ? schema : { description: text, allOf: [schema] };
    return [
      field.jsonName,
      "$ref" in schema || text === "" ? told : { ...schema, description: text },
    ];
  });
  const description = contract.comment(file, [at.message, index]);
  return {
    type: "object",
    ...(description === "" ? {} : { description }),
    properties: Object.fromEntries(properties),
  };
}
