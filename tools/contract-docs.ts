/** Writes docs/api and the event catalogue from the contracts; `--check` says whether they are stale. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { apiIndex, apiPages } from "./docs/api-reference.ts";
import { readContract } from "./docs/contract.ts";
import { asyncApi, eventTable } from "./docs/event-catalogue.ts";

const begin = "<!-- generated: begin (node tools/contract-docs.ts) -->";
const end = "<!-- generated: end -->";

/** Puts generated text between its marks and leaves what people wrote around it. */
function between(path: string, text: string): string {
  const page = readFileSync(path, "utf8");
  const [head, rest] = page.split(begin);
  const tail = rest?.split(end)[1];
  if (tail === undefined) throw new Error(`${path} has no marks for generated text`);
  return `${head}${begin}\n\n${text}\n${end}${tail}`;
}

const contract = readContract();
const wanted = new Map<string, string>([
  ["docs/events.asyncapi.json", `${JSON.stringify(asyncApi(contract), null, 2)}\n`],
  ["docs/events.md", between("docs/events.md", eventTable(contract))],
  ["docs/api/README.md", between("docs/api/README.md", apiIndex(contract))],
  ...[...apiPages(contract)].map(([name, text]) => [`docs/api/${name}`, text] as const),
]);
const left = readdirSync("docs/api")
  .map((name) => `docs/api/${name}`)
  .filter((path) => !wanted.has(path));

if (process.argv.includes("--check")) {
  const stale = [...wanted].filter(
    ([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text,
  );
  for (const path of [...stale.map(([name]) => name), ...left]) {
    console.error(`${path} is stale: run node tools/contract-docs.ts`);
  }
  process.exit(stale.length + left.length > 0 ? 1 : 0);
}
mkdirSync("docs/api", { recursive: true });
for (const [path, text] of wanted) writeFileSync(path, text);
for (const path of left) rmSync(path);
