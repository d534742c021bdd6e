/** Tables that a service has whatever it does. */
import { openJobsDdl } from "../job/open-jobs.ts";
import { sharedTablesSql } from "../projection/shared-tables.sql.ts";
import { isFamily } from "../topology/names.ts";

/** Statements that make them, which may be repeated; `name` is the service's and its schema's. */
export const sharedTables = (name: string): readonly string[] => [
  ...sharedTablesSql(name),
  ...(isFamily(name) ? [openJobsDdl(name)] : []),
];
