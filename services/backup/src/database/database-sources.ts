/** The databases that `backup.database` looks after: names in a setting, addresses in files that only their owner reads. */
import { fileURLToPath } from "node:url";
import { failureOf, notFound } from "@chom/shared/failure/failure";
import { isId } from "@chom/shared/aggregate/id";
import { Secret } from "@chom/shared/secrets/secret";
import { type Reader, secretFile } from "@chom/shared/service/settings";

export type Engine = "postgres" | "mysql" | "sqlite";

/** How to reach one database. Of SQLite only `database`, the absolute path of its file, is used. */
export type Place = {
  engine: Engine;
  host: string;
  port: number;
  user: string;
  password: Secret;
  database: string;
  /** From the URL's query: `sslmode`, `sslrootcert`, `socket`. */
  options: Readonly<Record<string, string>>;
};

export type DatabaseSource = {
  name: string;
  place: Place;
  /** Where test restores go; the database's own server when it is left out. */
  scratch: Place | undefined;
};

const engines: Readonly<Record<string, Engine>> = {
  "postgres:": "postgres",
  "postgresql:": "postgres",
  "mysql:": "mysql",
  "mariadb:": "mysql",
  "sqlite:": "sqlite",
};
const ports: Readonly<Record<Engine, number>> = { postgres: 5432, mysql: 3306, sqlite: 0 };
const knownOptions = ["sslmode", "sslrootcert", "socket"];

/** Reads `postgres://`, `mysql://` (or `mariadb://`) and `sqlite:///path` URLs. Never repeats the URL in an error. */
export function placeOf(text: Secret): Place {
  if (!URL.canParse(text.reveal())) throw bad("holds no URL");
  const url = new URL(text.reveal());
  const engine = engines[url.protocol];
  if (!engine) throw bad("holds a URL that is not postgres:, mysql: or sqlite:");
  const options = Object.fromEntries(url.searchParams);
  const unknown = Object.keys(options).find((name) => !knownOptions.includes(name));
  if (unknown) throw bad(`holds a URL with an unknown option, not ${knownOptions.join(", ")}`);
  const database =
    engine === "sqlite"
      ? fileURLToPath(`file://${url.pathname}`)
      : decodeURIComponent(url.pathname.slice(1));
  if (database === "") throw bad("holds a URL without a database");
  const password = decodeURIComponent(url.password);
  if (/[\r\n\0]/.test(password)) throw bad("holds a password with a line break");
  return {
    engine,
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port) || ports[engine],
    user: decodeURIComponent(url.username),
    password: new Secret(password),
    database,
    options,
  };
}

const bad = (why: string) => failureOf("invalid-config", why);

/** A source's file: the URL of the database, and perhaps a second line `scratch=<URL>` for test restores. */
function sourceOf(name: string, content: Secret): DatabaseSource {
  const lines = content
    .reveal()
    .split("\n")
    .map((line) => line.trim());
  const [url = "", ...more] = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const scratch = more.find((line) => line.startsWith("scratch="))?.slice("scratch=".length);
  if (more.length > (scratch === undefined ? 0 : 1)) throw bad("holds a line of an unknown kind");
  const place = placeOf(new Secret(url));
  const other = scratch === undefined ? undefined : placeOf(new Secret(scratch));
  if (other && other.engine !== place.engine) throw bad("has a scratch place of another engine");
  return { name, place, scratch: other };
}

/**
 * Reads `name=/path/of/file,name=/path/of/file`. Names are ids, and none is `all`. Files must not be readable by
 * everyone. Left out: no sources.
 */
export const databaseSources = (variable: string): Reader<readonly DatabaseSource[]> => ({
  variable,
  read(text = "") {
    const entries = text
      .split(",")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== "");
    const sources = entries.map((entry) => {
      const [, name = "", path = ""] = /^([^=]*)=(.+)$/.exec(entry) ?? [];
      if (!isId(name) || name === "all" || name.length > 40) {
        throw new Error('must be name=/path pairs with names of a-z, 0-9 and dash, not "all"');
      }
      const content = secretFile(variable).read(path);
      try {
        return sourceOf(name, content);
      } catch (error) {
        throw new Error(`names a file that ${(error as Error).message}: ${path}`, { cause: error });
      }
    });
    if (new Set(sources.map(({ name }) => name)).size < sources.length) {
      throw new Error("names a source twice");
    }
    return sources;
  },
});

/** The source of that name. Throws `database-not-found`. */
export function findSource(sources: readonly DatabaseSource[], name: string): DatabaseSource {
  const found = sources.find((source) => source.name === name);
  if (!found) throw notFound("database", name);
  return found;
}
