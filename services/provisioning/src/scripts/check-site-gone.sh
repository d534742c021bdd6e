# Looks for anything that a removed site left behind. Changes nothing, so it may run any number of times.
#   in    SYSTEM_USER  ROOT_PATH  DB_NAME (may be empty)
#   out   nothing
#   exit  0 nothing is left   70 error=needs-operator
left=
for at in "$ROOT_PATH" "/etc/nginx/sites-enabled/$SYSTEM_USER.conf" "/etc/nginx/sites-available/$SYSTEM_USER.conf" \
  "/etc/nginx/chom/$SYSTEM_USER" "/etc/chom/sites/$SYSTEM_USER" "/etc/chom/tls/$SYSTEM_USER" \
  "/etc/cron.d/chom-$SYSTEM_USER" "/run/php/$SYSTEM_USER.sock" /etc/php/*/fpm/pool.d/"$SYSTEM_USER.conf"; do
  if [ -e "$at" ] || [ -L "$at" ]; then left="$left $at"; fi
done
if id -u -- "$SYSTEM_USER" >/dev/null 2>&1; then left="$left user:$SYSTEM_USER"; fi
if [ -n "$DB_NAME" ] && command -v mariadb >/dev/null; then
  case $DB_NAME in *[!a-z0-9_]*) fail invalid-config "not a database name: $DB_NAME" ;; esac
  [ -z "$(printf "SELECT schema_name FROM information_schema.schemata WHERE schema_name = '%s'
    UNION SELECT user FROM mysql.user WHERE user = '%s';\n" "$DB_NAME" "$DB_NAME" |
    mariadb --user=root --batch --skip-column-names)" ] || left="$left database:$DB_NAME"
fi
[ -z "$left" ] || fail needs-operator "left behind:$left"
