/** Requests of methods as JSON: read strictly by the contract's own descriptors, and told in one canonical form. */
import { readFileSync } from "node:fs";
import {
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonObject,
  type Message,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { failureOf, invalid } from "../failure/failure.ts";

let loaded: FileRegistry | undefined;

/** Read once, when the first request by name comes. */
function registry(): FileRegistry {
  loaded ??= createFileRegistry(
    fromBinary(
      FileDescriptorSetSchema,
      readFileSync(new URL(import.meta.resolve("@chom/proto/descriptors"))),
    ),
  );
  return loaded;
}

/** The descriptor of a message. Failure `invalid-config` when the contract has none of this name. */
export function schemaOf(type: string): DescMessage {
  const schema = registry().getMessage(type);
  if (!schema) throw failureOf("invalid-config", `the contract has no message ${type}`);
  return schema;
}

const refusedAs = (field: string, description: string) => invalid([{ field, description }]);

function objectOf(text: string, field: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refusedAs(field, "must be JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refusedAs(field, "must be a JSON object");
  }
  return value as JsonObject;
}

function messageOf(schema: DescMessage, json: JsonObject, field: string): Message {
  try {
    return fromJson(schema, json);
  } catch (error) {
    const why = error instanceof Error ? error.message : "does not fit";
    throw refusedAs(field, `does not fit ${schema.typeName}: ${why.slice(0, 300)}`);
  }
}

/**
 * The canonical JSON of a request without its id, for `type` like `chom.backup.v1.CreateBackupRequest`. Failure
 * `invalid` naming `field`: no JSON object, an unknown field, a value of another type, or a request id in it.
 */
export function canonicalRequest(type: string, text: string, field: string): string {
  const given = objectOf(text, field);
  if ("requestId" in given || "request_id" in given) {
    throw refusedAs(field, "must hold no request id: it has a field of its own");
  }
  const schema = schemaOf(type);
  const canonical = toJson(schema, messageOf(schema, given, field)) as JsonObject;
  const names = Object.keys(canonical).toSorted();
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, canonical[name]])));
}

/** The wire form of a request that `canonicalRequest` told, with its id. */
export function requestBytes(type: string, canonical: string, requestId: string): Buffer {
  const schema = schemaOf(type);
  const json = { ...objectOf(canonical, "request"), requestId };
  return Buffer.from(toBinary(schema, messageOf(schema, json, "request")));
}
