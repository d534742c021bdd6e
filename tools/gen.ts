/** Generates `packages/proto/gen` from `proto/`: messages and services, the descriptor set, the permission table. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";

const gen = "packages/proto/gen";
const permissionOption = "[chom.options.v1.permission]";
const jobOption = "[chom.options.v1.job]";
const personalOption = "[chom.options.v1.personal]";
const resourceOption = "[chom.options.v1.resource]";
const secretOption = "[chom.options.v1.secret]";

type Method = { name: string; inputType: string; options?: Record<string, string> };
type Field = {
  name: string;
  jsonName: string;
  type: string;
  typeName?: string;
  options?: Record<string, boolean | string>;
};
type Message = { name: string; field?: Field[] };
type File = {
  package?: string;
  service?: { name: string; method?: Method[] }[];
  messageType?: Message[];
};

const buf = (...args: string[]): string =>
  execFileSync("node_modules/.bin/buf", args, { encoding: "utf8", maxBuffer: 64 << 20 });

/** The example family of CONTRIBUTING.md has its code beside it, and no part in CHOM's own contract. */
const example = "packages/e2e/src/sixth-family";
const withoutExample = ["--exclude-path", `${example}/proto/chom`];

buf("generate", ...withoutExample);
buf("generate", "--path", `${example}/proto/chom`, "--template", `${example}/buf.gen.yaml`);
buf("build", ...withoutExample, "-o", `${gen}/chom.binpb`);

const image = JSON.parse(buf("build", ...withoutExample, "-o", "-#format=json")) as {
  file: File[];
};
const rows = image.file.flatMap((file) =>
  (file.service ?? []).flatMap((service) =>
    (service.method ?? []).map((method) => {
      const path = `/${file.package}.${service.name}/${method.name}`;
      const permission = method.options?.[permissionOption];
      if (!permission) throw new Error(`${path} declares no permission in its proto options`);
      return `  "${path}": "${permission}",`;
    }),
  ),
);
writeFileSync(
  `${gen}/permissions.ts`,
  `// Generated from the proto options by tools/gen.ts. Do not edit.\n
/** Which permission each RPC needs; a server refuses to start with a method that is not here. */
export const permissions: Readonly<Record<string, string>> = {\n${rows.join("\n")}\n};\n`,
);

/** Ids in a request, also in messages inside it, with the kind of resource each names; "" where it does not say. */
function resourcesOf(type: string, seen: readonly string[] = []): [string, string][] {
  const message = image.file
    .flatMap((file) => (file.messageType ?? []).map((each) => ({ ...each, package: file.package })))
    .find((each) => `.${each.package}.${each.name}` === type);
  return (message?.field ?? []).flatMap((field): [string, string][] => {
    const kind = field.options?.[resourceOption];
    // The caller's own idempotency key names nothing yet.
    if (field.type === "TYPE_STRING" && /_ids?$/.test(field.name) && field.name !== "request_id") {
      return [[field.jsonName, String(kind ?? "")]];
    }
    if (!field.typeName || seen.includes(field.typeName)) return [];
    return resourcesOf(field.typeName, [...seen, type]).map(([name, what]) => [
      `${field.jsonName}.${name}`,
      what,
    ]);
  });
}
const resources = image.file.flatMap((file) =>
  (file.service ?? []).flatMap((service) =>
    (service.method ?? []).flatMap((method) => {
      const fields = resourcesOf(method.inputType);
      if (fields.length === 0) return [];
      const shown = fields.map(([name, kind]) => `${JSON.stringify(name)}: "${kind}"`).join(", ");
      return [`  "/${file.package}.${service.name}/${method.name}": { ${shown} },`];
    }),
  ),
);
writeFileSync(
  `${gen}/resources.ts`,
  `// Generated from the proto options by tools/gen.ts. Do not edit.\n
/** Ids in the request of each RPC and the kind of resource they name; "" is refused when a server starts. */
export const resources: Readonly<Record<string, Readonly<Record<string, string>>>> = {\n${resources.join("\n")}\n};\n`,
);

const jobRequests = image.file.flatMap((file) =>
  (file.service ?? []).flatMap((service) =>
    (service.method ?? []).flatMap((method) => {
      const job = method.options?.[jobOption];
      if (!job) return [];
      const family = file.package?.split(".")[1];
      const path = `/${file.package}.${service.name}/${method.name}`;
      const permission = method.options?.[permissionOption];
      const type = method.inputType.slice(1);
      return `  "${job}": { family: "${family}", path: "${path}", type: "${type}", permission: "${permission}" },`;
    }),
  ),
);
writeFileSync(
  `${gen}/job-requests.ts`,
  `// Generated from the proto options by tools/gen.ts. Do not edit.\n
/** By a job's name: its family, the method that starts it, that method's request type and permission. */
export const jobRequests: Readonly<
  Record<
    string,
    {
      readonly family: string;
      readonly path: string;
      readonly type: string;
      readonly permission: string;
    }
  >
> = {\n${jobRequests.join("\n")}\n};\n`,
);

const personal = image.file.flatMap((file) =>
  (file.messageType ?? []).flatMap((message) => {
    const names = (message.field ?? [])
      .filter((field) => field.options?.[personalOption])
      .map((field) => JSON.stringify(field.jsonName));
    return names.length > 0 ? [`  "${file.package}.${message.name}": [${names.join(", ")}],`] : [];
  }),
);
const sensitive = image.file.flatMap((file) =>
  (file.messageType ?? []).flatMap((message) =>
    (message.field ?? [])
      .filter(({ options }) => options?.[personalOption] || options?.[secretOption])
      .map(({ jsonName }) => JSON.stringify(jsonName)),
  ),
);
const sensitiveNames = [...new Set(sensitive)].toSorted().join(", ");
writeFileSync(
  `${gen}/personal.ts`,
  `// Generated from the proto options by tools/gen.ts. Do not edit.\n
/** JSON names of the fields of each message that hold personal data and are sealed before storing. */
export const personalFields: Readonly<Record<string, readonly string[]>> = {\n${personal.join("\n")}\n};

/** JSON names that some message declares personal or secret: masked wherever an input is shown. */
export const sensitiveFields: readonly string[] = [${sensitiveNames}];\n`,
);
