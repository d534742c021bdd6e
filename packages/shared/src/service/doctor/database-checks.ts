/** What a service can see of its database: clock, what its role may do, and the walls between tenants. */
import type { Postgres } from "../postgres.ts";
import { openWalls } from "../tenant-wall.ts";
import { shadowSchema } from "../../projection/shadow-tables.ts";
import { skewOf } from "./broker-checks.ts";
import type { DoctorCheck } from "./check.ts";

export type DatabaseParts = {
  readonly postgres: Postgres;
  readonly service: string;
  readonly now: () => Date;
};

const clockCheck = ({ postgres, now }: DatabaseParts): DoctorCheck => ({
  name: "clock-database",
  async run() {
    const asked = now();
    const [row] = await postgres.sql<{ at: string | Date }[]>`select clock_timestamp() as at`;
    return row ? skewOf("database", new Date(row.at), asked, now()) : [];
  },
});

const roleCheck = ({ postgres }: DatabaseParts): DoctorCheck => ({
  name: "database-role",
  async run() {
    const [role] = await postgres.sql<Record<string, boolean>[]>`
      select rolsuper as "is a superuser", rolbypassrls as "passes the walls between tenants",
        rolcreaterole as "makes roles", rolcreatedb as "makes databases",
        exists (select 1 from pg_auth_members m where m.member = r.oid) as "is a member of others"
      from pg_roles r where rolname = current_user`;
    return Object.entries(role ?? {})
      .filter(([, may]) => may)
      .map(([what]) => ({
        subject: what.replaceAll(" ", "-"),
        severity: "critical" as const,
        message: `the service's role ${what}: it may do more than its own tables need`,
        remedy:
          "alter role … nosuperuser nobypassrls nocreaterole nocreatedb, and revoke its memberships",
      }));
  },
});

/** A service does not own its tables, so it can mend none of it itself. */
const wallCheck = ({ postgres, service }: DatabaseParts): DoctorCheck => ({
  name: "tenant-wall",
  run: async () =>
    (await openWalls(postgres.sql, service)).map((table) => ({
      subject: table,
      severity: "critical",
      message: "row-level security is off: a mistake in one query shows other tenants' rows",
      remedy: `run \`main.ts migrate\` of ${service}: it raises the wall again; only the tables' owner took it down`,
    })),
});

const leftOverCheck = ({ postgres, service }: DatabaseParts): DoctorCheck => ({
  name: "rebuild-left-over",
  async run() {
    const schema = shadowSchema(service);
    const [found] = await postgres.sql`select 1 from pg_namespace where nspname = ${schema}`;
    if (!found) return [];
    let alone = false;
    // Who rebuilds holds this lock.
    await postgres.exclusively("rebuild", async () => {
      alone = true;
    });
    if (!alone) return [];
    return [
      {
        subject: schema,
        severity: "info",
        message: "a rebuild was cut short and left its tables behind: they only take room",
        remedy: "drop them, or rebuild again",
        async mend() {
          await postgres.exclusively("rebuild", async () => {
            await postgres.sql`drop schema if exists ${postgres.sql(schema)} cascade`;
          });
          return "they were dropped";
        },
      },
    ];
  },
});

export const databaseChecks = (parts: DatabaseParts): DoctorCheck[] => [
  clockCheck(parts),
  roleCheck(parts),
  wallCheck(parts),
  leftOverCheck(parts),
];
