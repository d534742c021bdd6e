# Loads a dump from stdin into the database that prepare-staging made, as the site's own database user. Begins anew each time.
#   in    site_user database_name
#   out   table=<hex of name>:<rows> (each base table)
#   error invalid-config  db-auth  db-gone-away  db-locked  archive-unsafe (the dump does what the user may not)
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $database_name in '' | *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
account=/etc/chom/sites/$site_user/db.cnf
[ -f "$account" ] || fail db-auth "$account is missing"
stage=${database_name}__r

"$client" -e "DROP DATABASE IF EXISTS \`$stage\`; CREATE DATABASE \`$stage\` CHARACTER SET utf8mb4;" ||
  fail db-gone-away "no place for the database"

chatter=$(mktemp)
trap 'rm -f -- "$chatter"' EXIT
# In binary mode the client takes no commands of its own, so nothing in the dump can speak to it.
nice -n 19 "$client" "--defaults-extra-file=$account" --binary-mode --default-character-set=utf8mb4 \
  "--database=$stage" >&2 2>"$chatter" || {
  head -c 4096 -- "$chatter" >&2
  case $(cat -- "$chatter") in
    *"ERROR 1045"* | *"ERROR 1698"*) fail db-auth ;;
    *"ERROR 1205"* | *"ERROR 1213"*) fail db-locked ;;
    *"ERROR 2002"* | *"ERROR 2006"* | *"ERROR 2013"*) fail db-gone-away ;;
    *"ERROR 1044"* | *"ERROR 1142"* | *"ERROR 1227"*) fail archive-unsafe "the dump does what the site's user may not" ;;
    *) fail restore-verification-failed "the dump cannot be loaded" ;;
  esac
}
printf "SELECT CONCAT('SELECT CONCAT(''', HEX(CONVERT(table_name USING utf8mb4)), ':'', COUNT(*)) FROM \`%s\`.\`',
  REPLACE(table_name, '\`', '\`\`'), '\`;') FROM information_schema.tables
  WHERE table_schema = '%s' AND table_type = 'BASE TABLE' ORDER BY table_name;" "$stage" "$stage" |
  "$client" --batch --raw --skip-column-names --default-character-set=utf8mb4 2>"$chatter" |
  "$client" --batch --skip-column-names --default-character-set=utf8mb4 2>>"$chatter" |
  while read -r line; do printf 'table=%s\n' "$line" >&3; done
[ ! -s "$chatter" ] || fail db-gone-away "$(head -c 1000 -- "$chatter")"
"$client" -e "CREATE TABLE \`$stage\`.\`chom__mark\` (id INT) ENGINE=InnoDB;" || fail db-gone-away
