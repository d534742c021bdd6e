/** The role that a service runs as: it reads and writes rows, and no wall between tenants is its to take down. */
import type postgres from "postgres";
import { operator } from "../failure/failure.ts";
import type { Secret } from "../secrets/secret.ts";
import { connectOnce } from "./postgres.ts";

type Power = { readonly role: string; readonly power: string };

/** Roles that a session of this one is, or may become, which row-level security does not hold. */
const unbound = (sql: postgres.Sql) => sql<Power[]>`
  select rolname as role, case when rolsuper then 'is a superuser'
    when rolbypassrls then 'is not bound by row-level security'
    else 'makes roles, and may take others'' rights so' end as power
  from pg_roles
  where (rolsuper or rolbypassrls or rolcreaterole) and pg_has_role(current_user, oid, 'member')
  order by rolname <> current_user, rolname`;

/** Owners of the service's schemas and of what is in them: each may turn row-level security off, or drop a table. */
const owners = (sql: postgres.Sql, service: string) => sql<Power[]>`
  with own as (select oid, nspname, nspowner from pg_namespace
    where nspname in (${service}, ${`${service}_secrets`}))
  select pg_get_userbyid(owner) as role, 'owns ' || thing as power from (
    select nspowner as owner, 'the schema ' || nspname as thing from own
    union all
    select relowner, nspname || '.' || relname from pg_class join own on own.oid = relnamespace
      where relkind in ('r', 'p', 'v', 'm')) things
  where pg_has_role(current_user, owner, 'member')
  order by thing`;

/**
 * Failure `operator` "bad-settings" when the role of the URL is, or may become, a superuser, one that row-level
 * security does not bind, one that makes roles, or one that owns anything of the service's: then the wall between
 * tenants would be none.
 */
export async function checkRole(url: Secret, service: string): Promise<void> {
  await connectOnce(url, service, async (sql) => {
    const [first] = [...(await unbound(sql)), ...(await owners(sql, service))];
    if (!first) return;
    const why = `its role is, or may become, "${first.role}", which ${first.power}`;
    const remedy = `give ${service} a plain role, and that of its tables to \`main.ts migrate\` only`;
    throw operator("bad-settings", `CHOM_POSTGRES_URL_FILE: ${why}; ${remedy}`);
  });
}
