import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { CertificateIssued } from "../packages/proto/gen/chom/ssl/v1/events.ts";
import { aggregatesOf } from "../packages/shared/src/topology/names.ts";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { describe, expect, it } from "vitest";
import { option, readContract } from "./docs/contract.ts";
import { asyncApi, eventTable } from "./docs/event-catalogue.ts";

const load = createRequire(import.meta.url);
const contract = readContract();
const document = asyncApi(contract) as {
  channels: Record<string, unknown>;
  components: { messages: Record<string, object>; schemas: Record<string, object> };
};

const withFormats = () => {
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  return ajv;
};

describe("the catalogue of events", () => {
  it("is an AsyncAPI 3 document by the schema of AsyncAPI", () => {
    const validate = withFormats().compile(load("@asyncapi/specs/schemas/3.0.0-without-$id.json"));
    expect(validate(document), JSON.stringify(validate.errors?.slice(0, 3))).toBe(true);
    expect(validate({ ...document, channels: { bad: { address: 3 } } })).toBe(false);
    // The schema of AsyncAPI takes seconds to compile.
  }, 60_000);

  it("describes what is stored: a real event's JSON fits its schema, and a spoiled one does not", () => {
    const ajv = withFormats();
    ajv.addSchema({ $id: "all", components: document.components });
    const validate = ajv.compile({ $ref: "all#/components/schemas/chom.ssl.v1.CertificateIssued" });
    const stored = CertificateIssued.toJSON(
      CertificateIssued.fromPartial({
        siteId: "s1",
        notAfter: new Date(0),
        names: ["a.example.com"],
      }),
    ) as object;
    expect(validate(stored), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...stored, names: "a.example.com" })).toBe(false);
    expect(validate({ ...stored, notAfter: 12 })).toBe(false);
  });

  it("has every kind of aggregate that some service may write, and no other", () => {
    const written = Object.values(aggregatesOf).flat();
    expect(Object.keys(document.channels).toSorted()).toEqual([...new Set(written)].toSorted());
  });

  it("names an aggregate for every message of the events' files but inputs of jobs", () => {
    const homeless = contract.files
      .filter(({ name }) => /events\.proto$/.test(name) && !name.startsWith("chom/events/"))
      .flatMap(({ messageType = [] }) => messageType)
      .filter(({ name, options }) => !name.endsWith("Input") && !option(options, "aggregate"));
    expect(homeless.map(({ name }) => name)).toEqual([]);
  });

  it("says of every event what it means", () => {
    expect(eventTable(contract)).not.toMatch(/^\| `\w+` \| {2}\|/m);
  });
});

it("the reference has every method of every service with its permission", () => {
  for (const file of contract.files) {
    for (const service of file.service ?? []) {
      const page = readFileSync(`docs/api/${file.package}.md`, "utf8");
      for (const method of service.method ?? []) {
        expect(page).toContain(`/${file.package}.${service.name}/${method.name}\``);
        expect(page).toContain(`permission \`${option(method.options, "permission")}\``);
      }
    }
  }
});
