/** What is needed of a kind of database: dump it, fill a new one, count what is in it, remove it again. */
import type { Readable, Transform } from "node:stream";
import type { Engine, Place } from "./database-sources.ts";

/** What a dump or a database holds. */
export type Counted = { tables: number; rows: number };

export type Use = {
  /** A folder of mode 0700 of this attempt alone. */
  folder: string;
  /** Where programs are looked for before PATH. */
  toolFolders: readonly string[];
  signal: AbortSignal;
};

type Dumping = {
  stream: Readable;
  /** Looks at the bytes on their way. */
  watching: Transform;
  /** Throws `dump-incomplete` when what passed was not whole. */
  counted: () => Counted;
  /** Name and version of what makes the dump. */
  tool: string;
  estimatedBytes: number;
};

/** Failures are typed: `tool-missing` and `db-auth` need a person, `db-gone-away` may pass, `incompatible-engine` does not. */
export type DatabaseTools = {
  engine: Engine;
  /** Of the object, before `.zst.age`. */
  fileName: string;
  dump(place: Place, use: Use): Promise<Dumping>;
  /** False when the program that fills a database is not here. */
  canRestore(use: Use): boolean;
  /** Makes an empty database beside the one of `place`. Throws `name-taken`. */
  create(place: Place, name: string, use: Use): Promise<void>;
  /** Fills an empty database; it holds nothing or everything when this ends, if the process lives. */
  restore(place: Place, name: string, content: Readable, use: Use): Promise<void>;
  count(place: Place, name: string, use: Use): Promise<Counted>;
  /** Gone afterwards, whether it was there or not. */
  drop(place: Place, name: string, use: Use): Promise<void>;
};
