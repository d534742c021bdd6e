# Sends a consistent dump of one database on stdout, with routines, triggers and events. Changes nothing.
#   in    database_name
#   out   tool  engine  consistent=<yes|no> (no: tables without transactions)  table=<hex of name>:<rows> (each base table)
#   error db-auth  db-missing  db-locked  db-gone-away  db-too-many-connections  db-corrupt  tool-missing  invalid-config
case $database_name in '' | *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
dumper=$(command -v mariadb-dump || command -v mysqldump) || fail tool-missing "there is no dump tool"

chatter=$(mktemp)
trap 'rm -f -- "$chatter"' EXIT

# Ends the script with the code that the database's own error number means.
give_up() {
  head -c 4096 -- "$chatter" >&2
  case $(cat -- "$chatter") in
    *1045* | *1698*) fail db-auth ;;
    *1049*) fail db-missing ;;
    *1205* | *1213*) fail db-locked ;;
    *1040* | *1203*) fail db-too-many-connections ;;
    *1034* | *"Got error: 145"* | *1194* | *1195*) fail db-corrupt ;;
    *2002* | *2006* | *2013*) fail db-gone-away ;;
    *) fail unexpected "$1 failed" ;;
  esac
}
ask() {
  "$client" --batch --skip-column-names 2>"$chatter" || give_up "a question to the database"
}

unsafe_tables=$(printf "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '%s'
  AND table_type = 'BASE TABLE' AND engine <> 'InnoDB';" "$database_name" | ask)
# One transaction sees one state of InnoDB alone; other engines are held still by a lock while they are read.
consistency=--single-transaction
[ "$unsafe_tables" = 0 ] || consistency=--lock-tables

nice -n 19 "$dumper" "$consistency" --quick --routines --triggers --events --hex-blob --no-tablespaces \
  --default-character-set=utf8mb4 --skip-dump-date -- "$database_name" 2>"$chatter" || give_up "the dump"

out tool "$("$dumper" --version)"
out engine "$(printf 'SELECT VERSION();' | ask)"
if [ "$unsafe_tables" = 0 ]; then out consistent yes; else out consistent no; fi

# What the server itself says is there, to hold the dump against. The server quotes its own names.
printf "SELECT CONCAT('SELECT CONCAT(''', HEX(CONVERT(table_name USING utf8mb4)), ':'', COUNT(*)) FROM \`%s\`.\`',
  REPLACE(table_name, '\`', '\`\`'), '\`;') FROM information_schema.tables
  WHERE table_schema = '%s' AND table_type = 'BASE TABLE' ORDER BY table_name;" "$database_name" "$database_name" |
  "$client" --batch --raw --skip-column-names --default-character-set=utf8mb4 2>"$chatter" |
  "$client" --batch --skip-column-names --default-character-set=utf8mb4 2>>"$chatter" |
  while read -r line; do printf 'table=%s\n' "$line" >&3; done
[ ! -s "$chatter" ] || give_up "counting the rows"
