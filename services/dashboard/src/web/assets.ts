/** What browsers load beside pages: read once, named by its content, so that it may be kept for ever. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { extname } from "node:path";

export type Assets = {
  /** `/assets/<hash of all>`. */
  readonly prefix: string;
  find(path: string): { readonly type: string; readonly body: Buffer } | undefined;
};

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

const client = new URL("../../client/", import.meta.url);
const files = new URL("../../assets/", import.meta.url);

/** Browsers know neither types nor bare names of packages. */
const browserModule = (source: string): string =>
  stripTypeScriptTypes(source)
    .replaceAll('from "idiomorph"', 'from "./idiomorph.js"')
    .replaceAll(/from "(\.\/[\w-]+)\.ts"/g, 'from "$1.js"');

function contents(): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const name of readdirSync(files)) found.set(name, readFileSync(new URL(name, files)));
  for (const name of readdirSync(client).filter((each) => /^[\w-]+\.ts$/.test(each))) {
    const source = readFileSync(new URL(name, client), "utf8");
    found.set(name.replace(/\.ts$/, ".js"), Buffer.from(browserModule(source)));
  }
  found.set("idiomorph.js", readFileSync(new URL(import.meta.resolve("idiomorph"))));
  return found;
}

/** Reads them all. */
export function loadAssets(): Assets {
  const all = contents();
  const hash = createHash("sha256");
  for (const [name, body] of all) hash.update(`${name}\n`).update(body);
  const prefix = `/assets/${hash.digest("hex").slice(0, 16)}`;
  return {
    prefix,
    find(path) {
      if (!path.startsWith(`${prefix}/`)) return undefined;
      const name = path.slice(prefix.length + 1);
      const body = all.get(name);
      const type = types[extname(name)];
      return body && type ? { type, body } : undefined;
    },
  };
}
