# Makes an unpacked WordPress the site's web root, configures and installs it, and runs its cron by the system.
# What is installed stays; the passwords are made what the record says. May run any number of times.
#   in    SYSTEM_USER  ROOT_PATH  RELEASE  DOMAIN  PHP_VERSION  DB_NAME  DB_USER  DB_PASSWORD (secret)  SOCKET
#         ADMIN_USER  ADMIN_PASSWORD (secret)  ADMIN_EMAIL
#   out   version=<WordPress's>  created=yes|no
#   exit  0 done   70 error=invalid-config, permission-denied, tool-missing   other: unexpected
need setpriv od "php$PHP_VERSION"
case $DB_PASSWORD in *[!A-Za-z0-9]* | '') fail invalid-config "the password is not of A-Z a-z 0-9" ;; esac
as_site() {
  setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- "$@" 3>&-
}

# shellcheck disable=SC2016 # for the other shell
as_site sh -euc '
  cd -- "$1"
  if [ -e public/wp-load.php ]; then
    rm -rf -- "releases/$2"
  else
    rmdir -- public 2>/dev/null || [ ! -e public ]
    mv -- "releases/$2" public
  fi' sh "$ROOT_PATH" "$RELEASE" || fail invalid-config "the web root holds something else already"

# Only the site itself reads these; nginx never needs to.
# shellcheck disable=SC2016 # for the other shell
secret_file() {
  as_site sh -euc 'umask 077; cat >"$1.new"; mv -f -- "$1.new" "$1"' sh "$1" ||
    fail permission-denied "cannot write $1"
}
salts=$ROOT_PATH/shared/wp-salts.php
if ! as_site test -e "$salts"; then
  {
    echo '<?php'
    for name in AUTH_KEY SECURE_AUTH_KEY LOGGED_IN_KEY NONCE_KEY \
      AUTH_SALT SECURE_AUTH_SALT LOGGED_IN_SALT NONCE_SALT; do
      printf "define('%s', '%s');\n" "$name" "$(od -An -N 32 -v -tx1 /dev/urandom | tr -d ' \n')"
    done
  } | secret_file "$salts"
fi
# Behind a certificate the same site answers as https, without being configured again.
secret_file "$ROOT_PATH/public/wp-config.php" <<PHP
<?php
define('DB_NAME', '$DB_NAME');
define('DB_USER', '$DB_USER');
define('DB_PASSWORD', '$DB_PASSWORD');
define('DB_HOST', 'localhost:$SOCKET');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
require '$salts';
\$table_prefix = 'wp_';
\$chom_scheme = empty(\$_SERVER['HTTPS']) ? 'http' : 'https';
define('WP_HOME', \$chom_scheme . '://$DOMAIN');
define('WP_SITEURL', WP_HOME);
define('DISALLOW_FILE_EDIT', true);
define('DISABLE_WP_CRON', true);
define('FS_METHOD', 'direct');
define('WP_DEBUG', false);
if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
PHP

# WordPress's own installer, run as the site. The mail that it would send names a password, so it is not sent.
# shellcheck disable=SC2016 # for PHP
program='
$password = stream_get_contents(STDIN);
$_SERVER["HTTP_HOST"] = $_SERVER["SERVER_NAME"] = getenv("DOMAIN");
$_SERVER["REQUEST_URI"] = "/";
$_SERVER["SERVER_PROTOCOL"] = "HTTP/1.1";
define("WP_INSTALLING", true);
function wp_new_blog_notification() {}
require getenv("PUBLIC") . "/wp-load.php";
require_once ABSPATH . "wp-admin/includes/upgrade.php";
$user = getenv("ADMIN_USER");
$created = !is_blog_installed();
if ($created) {
    wp_install(getenv("DOMAIN"), $user, getenv("ADMIN_EMAIL"), true, "", wp_slash($password));
}
$id = username_exists($user);
if (!$id) {
    $id = wp_insert_user(["user_login" => $user, "user_pass" => $password,
        "user_email" => getenv("ADMIN_EMAIL"), "role" => "administrator"]);
    if (is_wp_error($id)) { fwrite(STDERR, $id->get_error_message()); exit(1); }
}
if (!wp_check_password($password, get_userdata($id)->user_pass, $id)) wp_set_password($password, $id);
if (!is_blog_installed()) { fwrite(STDERR, "the installer left no site"); exit(1); }
global $wp_version;
echo ($created ? "yes" : "no"), " ", $wp_version;
'
said=$(printf '%s' "$ADMIN_PASSWORD" | as_user "$SYSTEM_USER" env DOMAIN="$DOMAIN" PUBLIC="$ROOT_PATH/public" \
  ADMIN_USER="$ADMIN_USER" ADMIN_EMAIL="$ADMIN_EMAIL" "php$PHP_VERSION" -d display_errors=stderr \
  -d error_log= -d "sys_temp_dir=$ROOT_PATH/tmp" -r "$program") ||
  fail unexpected "WordPress's installer failed: $said"
case $said in "yes "* | "no "*) ;; *) fail unexpected "WordPress's installer said: $said" ;; esac

write_file "/etc/cron.d/chom-$SYSTEM_USER" 0644 root:root <<CRON
*/5 * * * * $SYSTEM_USER cd $ROOT_PATH/public && /usr/bin/php$PHP_VERSION -q wp-cron.php >/dev/null 2>&1
CRON
out created "${said%% *}"
out version "${said#* }"
