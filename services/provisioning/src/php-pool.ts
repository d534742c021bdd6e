/** The PHP-FPM pool of a site, as text. */
import { permanent } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";

export type PoolSettings = {
  readonly systemUser: string;
  readonly rootPath: string;
  /** Undefined for a site without a database. */
  readonly database:
    | { readonly name: string; readonly socket: string; readonly password: Secret }
    | undefined;
};

const plain = /^[A-Za-z0-9_/.-]+$/;

function environment({ database }: PoolSettings): string {
  if (!database) return "";
  const values = {
    DB_HOST: "localhost",
    DB_SOCKET: database.socket,
    DB_NAME: database.name,
    DB_USER: database.name,
    DB_PASSWORD: database.password.reveal(),
  };
  return Object.entries(values)
    .map(([name, value]) => {
      if (!plain.test(value)) throw permanent("invalid-config", `${name} has odd characters`);
      return `env[${name}] = "${value}"\n`;
    })
    .join("");
}

/**
 * The file's text, secret because it holds the database password. The pool runs as the site's own user, starts
 * workers on demand and sees nothing outside of the site's folder. Logs that root opens never lie in that folder.
 */
export function renderPool(settings: PoolSettings): Secret {
  const { systemUser: user, rootPath: root } = settings;
  return new Secret(`; Made by CHOM. Changes here are overwritten.
[${user}]
user = ${user}
group = ${user}
listen = /run/php/${user}.sock
listen.owner = www-data
listen.group = www-data
listen.mode = 0660
pm = ondemand
pm.max_children = 8
pm.process_idle_timeout = 30s
pm.max_requests = 500
request_terminate_timeout = 120s
chdir = ${root}
clear_env = yes
security.limit_extensions = .php
${environment(settings)}php_admin_value[open_basedir] = ${root}
php_admin_value[upload_tmp_dir] = ${root}/tmp
php_admin_value[sys_temp_dir] = ${root}/tmp
php_admin_value[session.save_path] = ${root}/sessions
php_admin_value[error_log] = ${root}/logs/php-error.log
php_admin_flag[log_errors] = on
php_admin_flag[display_errors] = off
php_admin_flag[expose_php] = off
php_value[upload_max_filesize] = 64M
php_value[post_max_size] = 64M
php_value[memory_limit] = 256M
`);
}
