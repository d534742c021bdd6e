/** The names of things. Each grammar is a whitelist: nothing in it means anything to a shell, a path or a query. */
import { isId } from "../aggregate/id.ts";
import { type Grammar, shaped } from "./grammar.ts";

/** An id as in aggregate/id.ts. */
export const idProblem: Grammar = (text) => {
  if (text === "") return "is required";
  const shape = "must be 1 to 64 characters of a-z, 0-9 and dash that begin with no dash";
  return isId(text) ? undefined : shape;
};

/** What people call a server. */
export const serverNameProblem = shaped(
  /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/,
  63,
  "1 to 63 letters, digits and inner dashes",
);

/** A user that one logs in as. */
export const unixUserProblem = shaped(
  /^[a-z_][a-z0-9_-]{0,31}$/,
  32,
  "1 to 32 characters of a-z, 0-9, dash and underscore",
);

/** The user that a site runs as; made by provisioning only. */
export const siteUserProblem = shaped(/^s-[a-z0-9]{12}$/, 14, "a site's user");

/** `family.action`. */
export const jobNameProblem = shaped(
  /^[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}$/,
  65,
  "a job's name",
);

/** A code of failure/codes.ts, known here or not. */
export const failureCodeProblem = shaped(/^[a-z][a-z0-9-]{0,63}$/, 64, "a failure code");

/** A schedule's name. */
export const scheduleNameProblem = shaped(
  /^[a-z][a-z0-9-]{0,62}$/,
  63,
  "1 to 63 of a-z, 0-9 and dash",
);

/** What people call a chain or a batch. */
export const flowNameProblem = shaped(
  /^[\w .:-]{1,100}$/,
  100,
  "at most 100 letters, digits, blanks and . _ : -",
);

/** A worker's name. */
export const workerNameProblem = shaped(
  /^[\w.@:-]{1,100}$/,
  100,
  "1 to 100 letters, digits and . _ @ : -",
);

/** A database to make, or SQLite's file: no folders, no names of the system. */
export const databaseNameProblem = shaped(
  /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/,
  63,
  "1 to 63 letters, digits, and _ . - after the first",
);

/** A version of PHP. */
export const phpVersionProblem = shaped(/^[5-9]\.[0-9]{1,2}$/, 4, "like 8.2");
