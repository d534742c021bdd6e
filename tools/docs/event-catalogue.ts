/** The catalogue of events: AsyncAPI 3 for programs, a table for people. Generated from the contracts. */
import { at, type Contract, type File, option } from "./contract.ts";
import { schemaOf } from "./json-schema.ts";

type Fact = {
  file: File;
  index: number;
  name: string;
  type: string;
  aggregate: string;
  says: string;
};

const facts = (contract: Contract): Fact[] =>
  contract.files.flatMap((file) =>
    (file.messageType ?? []).flatMap((message, index) => {
      const aggregate = option(message.options, "aggregate");
      if (typeof aggregate !== "string") return [];
      const says = contract.comment(file, [at.message, index]);
      const type = `${file.package}.${message.name}`;
      return [{ file, index, name: message.name, type, aggregate, says }];
    }),
  );

const headers = {
  type: "object",
  description: "CloudEvents as headers of the message, and what CHOM adds.",
  properties: {
    "ce-specversion": { type: "string", const: "1.0" },
    "ce-id": {
      type: "string",
      description: "The same fact has the same id however often it comes.",
    },
    "ce-type": { type: "string", description: "Full name of the message." },
    "ce-source": { type: "string", description: "The service that wrote it." },
    "ce-time": { type: "string", format: "date-time" },
    "ce-subject": { type: "string", description: "Id of the aggregate." },
    traceparent: { type: "string", description: "W3C trace context of what caused it." },
  },
} as const;

/** Every message that some event holds, and the events themselves. */
function schemas(contract: Contract): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const visit = (type: string): void => {
    if (found[type]) return;
    for (const file of contract.files) {
      const index = (file.messageType ?? []).findIndex(
        ({ name }) => `${file.package}.${name}` === type,
      );
      if (index < 0) continue;
      found[type] = schemaOf(contract, file, index);
      for (const { typeName } of file.messageType?.[index]?.field ?? []) {
        if (typeName?.startsWith(".chom.")) visit(typeName.slice(1));
      }
    }
  };
  for (const { type } of facts(contract)) visit(type);
  return Object.fromEntries(Object.entries(found).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The AsyncAPI document as plain data. */
export function asyncApi(contract: Contract): object {
  const all = facts(contract);
  const kinds = [...new Set(all.map(({ aggregate }) => aggregate))].toSorted();
  const of = (kind: string) => all.filter(({ aggregate }) => aggregate === kind);
  const channels = kinds.map((kind) => [
    kind,
    {
      address: `evt.{tenant}.${kind}.{id}`,
      parameters: {
        tenant: { description: "Who the fact belongs to; `platform` for CHOM itself." },
        id: { description: `Id of the ${kind}.` },
      },
      messages: Object.fromEntries(
        of(kind).map(({ name, type }) => [name, { $ref: `#/components/messages/${type}` }]),
      ),
    },
  ]);
  const operations = kinds.map((kind) => [
    `receive-${kind}`,
    { action: "receive", channel: { $ref: `#/channels/${kind}` } },
  ]);
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Events of CHOM",
      version: "1.0.0",
      description:
        "Facts in the JetStream stream EVENTS, one exact subject an aggregate, kept for ever, in canonical proto3 JSON. See docs/events.md for how to subscribe.",
      license: { name: "Apache-2.0" },
    },
    defaultContentType: "application/json",
    channels: Object.fromEntries(channels),
    operations: Object.fromEntries(operations),
    components: {
      messages: Object.fromEntries(
        all.map(({ name, type, says }) => [
          type,
          {
            name,
            ...(says === "" ? {} : { summary: says }),
            headers: { $ref: "#/components/schemas/headers" },
            payload: { $ref: `#/components/schemas/${type}` },
          },
        ]),
      ),
      schemas: { headers, ...schemas(contract) },
    },
  };
}

/** Rows of the table for people, by aggregate. */
export function eventTable(contract: Contract): string {
  const all = facts(contract);
  const kinds = [...new Set(all.map(({ aggregate }) => aggregate))].toSorted();
  return kinds
    .map((kind) => {
      const rows = all
        .filter(({ aggregate }) => aggregate === kind)
        .map(({ file, index, name, says }) => {
          const fields = (file.messageType?.[index]?.field ?? []).map(({ jsonName }) => jsonName);
          return `| \`${name}\` | ${says} | ${fields.join(", ")} |`;
        });
      return `### \`evt.<tenant>.${kind}.<id>\`\n\n| event | what it says | fields |\n|---|---|---|\n${rows.join("\n")}\n`;
    })
    .join("\n");
}
