/**
 * The roles of Postgres as SQL text, for a server that is not ours to call: a service has two schemas, the role that
 * owns them, and the one that it runs as.
 */

/** Generated passwords are base64url and names are ours, so nothing needs quoting; anything else is a bug. */
function plain(text: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) throw new Error("not a plain word");
  return text;
}

export type Passwords = { readonly own: string; readonly owner: string };

export const ownerOf = (service: string): string => `${service}_owner`;

/** Makes the database's roles; fails on a server that has them already. */
export function serviceSql(passwords: ReadonlyMap<string, Passwords>, database: string): string {
  const login = (name: string, password: string) =>
    `create role ${plain(name)} login nosuperuser nocreatedb nocreaterole password '${plain(password)}';
grant connect, temporary, create on database ${plain(database)} to ${plain(name)};`;
  const statements = [...passwords].map(([name, { own, owner }]) =>
    [
      login(name, own),
      login(ownerOf(name), owner),
      ...[name, `${name}_secrets`].map(
        (schema) => `create schema ${plain(schema)} authorization ${plain(ownerOf(name))};`,
      ),
    ].join("\n"),
  );
  return `revoke all on database ${plain(database)} from public;\n${statements.join("\n")}\n`;
}

/** How a service reaches its schema. */
export const urlOf = (name: string, password: string, host = "postgres"): string =>
  `postgres://${plain(name)}:${plain(password)}@${host}:5432/chom`;
