/** The API reference: every service, method, permission, field, from the contracts and their comments. */
import { at, type Contract, type File, option } from "./contract.ts";

/** Fields that mean the same in every message, where the contract says nothing more of them. */
const conventions: Readonly<Record<string, string>> = {
  request_id:
    "The caller's idempotency key; the job's id where a job is started. Made by the server when empty.",
  reason: "Why, for the log and the audit.",
  position: "Where the write stands; give it to a read as `min_position`.",
  min_position: "Wait up to 2 s until the read model has seen this.",
  page_token: "From the answer before; empty for the first page.",
  next_page_token: "Empty on the last page.",
  page_size: "1 to 500; 50 when it is not set.",
  tenant: "Who it belongs to.",
  actor: "Who asked: the subject of a token, or a service.",
  job_id: "The job that does it, or did it.",
  failure_code: "Stable, in kebab-case.",
  failure_message: "For people; never parse it.",
};

const shortOf = (type: string): string => type.replace(/^\.?(?:google\.protobuf\.)?/, "");

function fieldRows(contract: Contract, type: string): string {
  for (const file of contract.files) {
    const index = (file.messageType ?? []).findIndex(
      ({ name }) => `.${file.package}.${name}` === type,
    );
    if (index < 0) continue;
    const rows = (file.messageType?.[index]?.field ?? []).map((field, place) => {
      const scalar = field.type.replace("TYPE_", "").toLowerCase();
      const named = field.typeName ? linkTo(contract, field.typeName) : scalar;
      const many = field.label === "LABEL_REPEATED" ? "list of " : "";
      const said = contract.comment(file, [at.message, index, at.field, place]);
      const says = said === "" ? (conventions[field.name] ?? "") : said;
      const secret = option(field.options, "secret") ? " **Secret:** never stored or logged." : "";
      return `| \`${field.name}\` | ${many}${named} | ${says}${secret} |`;
    });
    return rows.length === 0
      ? "No fields.\n"
      : `| field | type | |\n|---|---|---|\n${rows.join("\n")}\n`;
  }
  return "";
}

/** A message that is described on some page, as a link to it. */
function linkTo(contract: Contract, typeName: string): string {
  const short = shortOf(typeName);
  const home = contract.files.find(
    (file) =>
      typeName.startsWith(`.${file.package}.`) &&
      [...(file.messageType ?? []), ...(file.enumType ?? [])].some(
        ({ name }) => typeName === `.${file.package}.${name}`,
      ),
  );
  if (!home) return `\`${short}\``;
  const name = typeName.split(".").at(-1) ?? "";
  return `[${name}](${pageOf(home.package)}#${name.toLowerCase()})`;
}

const pageOf = (packageName: string): string => `${packageName}.md`;

function methods(contract: Contract, file: File): string {
  return (file.service ?? [])
    .map((service, index) => {
      const says = contract.comment(file, [at.service, index]);
      const parts = (service.method ?? []).map((method, place) => {
        const about = contract.comment(file, [at.service, index, at.method, place]);
        const job = option(method.options, "job");
        const stream = method.serverStreaming ? " (a stream of answers)" : "";
        return `#### ${method.name}

\`/${file.package}.${service.name}/${method.name}\`${stream}, permission \`${option(method.options, "permission")}\`${
          job ? `, starts the job \`${job}\`` : ""
        }.${about === "" ? "" : ` ${about}`}

**Request** ${shortOf(method.inputType).split(".").at(-1)}

${fieldRows(contract, method.inputType)}
**Response** ${shortOf(method.outputType).split(".").at(-1)}

${fieldRows(contract, method.outputType)}`;
      });
      return `## ${service.name}\n\n${says}\n\n${parts.join("\n")}`;
    })
    .join("\n");
}

/** Messages that no method takes or gives by itself, and enums. */
function types(contract: Contract, file: File): string {
  const direct = new Set(
    contract.files.flatMap(({ service }) =>
      (service ?? []).flatMap(({ method }) =>
        (method ?? []).flatMap(({ inputType, outputType }) => [inputType, outputType]),
      ),
    ),
  );
  const messages = (file.messageType ?? []).flatMap((message, index) => {
    const type = `.${file.package}.${message.name}`;
    if (direct.has(type) || option(message.options, "aggregate")) return [];
    const says = contract.comment(file, [at.message, index]);
    return [`### ${message.name}\n\n${says}\n\n${fieldRows(contract, type)}`];
  });
  const enums = (file.enumType ?? []).map((values, index) => {
    const says = contract.comment(file, [at.enum, index]);
    const names = values.value.map(({ name }, place) => {
      const about = contract.comment(file, [at.enum, index, at.field, place]);
      return `- \`${name}\`${about === "" ? "" : `: ${about}`}`;
    });
    return `### ${values.name}\n\n${says}\n\n${names.join("\n")}\n`;
  });
  return [...messages, ...enums].join("\n");
}

/** One page a package, by file name; packages without services have their types only. */
export function apiPages(contract: Contract): ReadonlyMap<string, string> {
  const packages = [...new Set(contract.files.map((file) => file.package))];
  const pages = packages
    .filter((name) => name !== "chom.options.v1")
    .map((name) => {
      const files = contract.files.filter((file) => file.package === name);
      const intro = files
        .map((file) => contract.comment(file, [at.package]))
        .filter((text) => text !== "")
        .join(" ");
      const calls = files.map((file) => methods(contract, file)).filter((text) => text !== "");
      const rest = files.map((file) => types(contract, file)).filter((text) => text !== "");
      const body = `# ${name}\n\n${intro}\n\n${calls.join("\n")}\n## Types\n\n${rest.join("\n")}`;
      return [pageOf(name), `${body.replace(/\n{3,}/g, "\n\n").trim()}\n`] as const;
    });
  return new Map(pages);
}

/** The page that lists the others. */
export function apiIndex(contract: Contract): string {
  const rows = contract.files.flatMap((file) =>
    (file.service ?? []).map((service, index) => {
      const link = `[${service.name}](${pageOf(file.package)}#${service.name.toLowerCase()})`;
      return `| ${link} | ${service.method?.length ?? 0} | ${contract.comment(file, [at.service, index])} |`;
    }),
  );
  return `| service | methods | |\n|---|---|---|\n${rows.join("\n")}\n`;
}
