/** The roles of Postgres as SQL text, for a server that is not ours to call: one role and two schemas a service. */

/** Generated passwords are base64url and names are ours, so nothing needs quoting; anything else is a bug. */
function plain(text: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) throw new Error("not a plain word");
  return text;
}

/** Makes the database's roles; fails on a server that has them already. */
export function serviceSql(passwords: ReadonlyMap<string, string>, database: string): string {
  const statements = [...passwords].map(
    ([name, password]) =>
      `create role ${plain(name)} login nosuperuser nocreatedb nocreaterole password '${plain(password)}';
grant connect, temporary, create on database ${plain(database)} to ${plain(name)};
create schema ${plain(name)} authorization ${plain(name)};
create schema ${plain(name)}_secrets authorization ${plain(name)};`,
  );
  return `revoke all on database ${plain(database)} from public;\n${statements.join("\n")}\n`;
}

/** How a service reaches its schema. */
export const urlOf = (name: string, password: string, host = "postgres"): string =>
  `postgres://${plain(name)}:${plain(password)}@${host}:5432/chom`;
