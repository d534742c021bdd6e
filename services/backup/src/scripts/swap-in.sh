# Puts the staged files and tables in the place of the site's own, which are set aside. A run that was cut off goes on.
#   in    site_user root_path database_name restore_id has_files has_database (yes or no) php_version (empty: none)
#   error invalid-config  db-gone-away  needs-operator
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $restore_id in '' | *[!a-z0-9-]*) fail invalid-config "the restore has an impossible id" ;; esac
case $php_version in *[!0-9.]*) fail invalid-config "the PHP version is impossible" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
state=/var/lib/chom/restores/$restore_id
[ -d "$state" ] || fail invalid-config "nothing was staged"

swap_files() {
  stage=$root_path.restore
  before=$root_path.before
  [ ! -e "$state/files-swapped" ] || return 0
  [ -d "$stage" ] || [ -d "$before" ] || fail needs-operator "the staged files are gone"
  if [ ! -e "$before" ]; then
    chown --reference="$root_path" -- "$stage"
    chmod --reference="$root_path" -- "$stage"
    printf %s "$restore_id" >"$before.restore-id"
    mv -T -- "$root_path" "$before"
  fi
  [ -e "$root_path" ] || mv -T -- "$stage" "$root_path"
  # These belong to the place, not to the moment: the site keeps the ones it has.
  for kept in tmp sessions logs; do
    [ ! -d "$before/$kept" ] || [ -L "$before/$kept" ] || [ -e "$root_path/$kept" ] ||
      mv -T -- "$before/$kept" "$root_path/$kept"
  done
  sync
  : >"$state/files-swapped"
}

client=
swap_database() {
  case $database_name in '' | *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
  client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
  dumper=$(command -v mariadb-dump || command -v mysqldump) || fail tool-missing "there is no dump tool"
  [ ! -e "$state/database-swapped" ] || return 0
  # Triggers keep tables from moving between databases, and views, routines and events do not move: they are written
  # down first and made again where their tables are.
  [ -s "$state/old-objects.sql" ] || save_objects "$database_name" old-objects.sql
  [ -s "$state/new-objects.sql" ] || save_objects "${database_name}__r" new-objects.sql
  if [ "$(marks_in "${database_name}__b")" = 0 ]; then
    drop_objects "$database_name"
    drop_objects "${database_name}__r"
    # One statement: all tables change places, or none.
    { moves "$database_name" "${database_name}__b" "BASE TABLE" &&
      moves "${database_name}__r" "$database_name" "BASE TABLE" "AND table_name <> 'chom__mark'" &&
      printf '%s\n' "\`${database_name}__r\`.\`chom__mark\` TO \`${database_name}__b\`.\`chom__mark\`"; } >"$state/moves" ||
      fail db-gone-away
    { printf 'SET foreign_key_checks = 0; RENAME TABLE '; paste -s -d , -- "$state/moves"; printf ';\n'; } | "$client" --default-character-set=utf8mb4 ||
      fail db-gone-away "the tables could not change places"
  fi
  drop_objects "$database_name"
  load_objects new-objects.sql
  : >"$state/database-swapped"
}

ask() {
  printf '%s;\n' "$1" | "$client" --batch --raw --skip-column-names --default-character-set=utf8mb4 ||
    fail db-gone-away "a question to the database failed"
}
marks_in() {
  ask "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '$1' AND table_name = 'chom__mark'"
}
# moves FROM TO TYPE [CONDITION]: the parts of a RENAME TABLE; the server quotes its own names.
moves() {
  ask "SELECT CONCAT('\`$1\`.\`', REPLACE(table_name, '\`', '\`\`'), '\` TO \`$2\`.\`', REPLACE(table_name, '\`', '\`\`'), '\`')
    FROM information_schema.tables WHERE table_schema = '$1' AND table_type = '$3' ${4:-}"
}
save_objects() {
  views=$(ask "SELECT COUNT(*) FROM information_schema.views WHERE table_schema = '$1'")
  {
    printf '%s\n' "-- what is no table in $1"
    "$dumper" --no-data --no-create-info --routines --events --triggers --no-tablespaces --default-character-set=utf8mb4 \
      -- "$1" | sed -e '/^\/\*M\{0,1\}!999999/d'
    if [ "$views" != 0 ]; then
      ask "SELECT CONCAT('CREATE VIEW \`', REPLACE(table_name, '\`', '\`\`'), '\` AS ',
        REPLACE(view_definition, '\`$1\`.', ''), ';') FROM information_schema.views WHERE table_schema = '$1'"
    fi
  } >"$state/$2.part" || fail db-gone-away "the objects of $1 cannot be written down"
  mv -- "$state/$2.part" "$state/$2"
}
drop_objects() {
  {
    ask "SELECT CONCAT('DROP TRIGGER \`$1\`.\`', REPLACE(trigger_name, '\`', '\`\`'), '\`;')
      FROM information_schema.triggers WHERE trigger_schema = '$1'"
    ask "SELECT CONCAT('DROP ', routine_type, ' \`$1\`.\`', REPLACE(routine_name, '\`', '\`\`'), '\`;')
      FROM information_schema.routines WHERE routine_schema = '$1'"
    ask "SELECT CONCAT('DROP EVENT \`$1\`.\`', REPLACE(event_name, '\`', '\`\`'), '\`;')
      FROM information_schema.events WHERE event_schema = '$1'"
    ask "SELECT CONCAT('DROP VIEW \`$1\`.\`', REPLACE(table_name, '\`', '\`\`'), '\`;')
      FROM information_schema.views WHERE table_schema = '$1'"
  } >"$state/drops"
  "$client" --default-character-set=utf8mb4 <"$state/drops" || fail db-gone-away "the objects of $1 cannot be dropped"
}
# As the site's own user, whose text this is: what it may not do itself it may not do through us. It becomes the definer.
load_objects() {
  # shellcheck disable=SC2016 # backticks are SQL's here
  sed -E '/^(\/\*![0-9]+ (CREATE|DEFINER)|CREATE DEFINER)/s/DEFINER=`([^`]|``)*`@`([^`]|``)*`//' "$state/$1" |
    "$client" "--defaults-extra-file=/etc/chom/sites/$site_user/db.cnf" --binary-mode --default-character-set=utf8mb4 \
      "--database=$database_name" || fail restore-verification-failed "views, triggers or routines cannot be made"
}

[ "$has_database" != yes ] || swap_database
[ "$has_files" != yes ] || swap_files
# The interpreter must not go on with code that it remembers.
[ -z "$php_version" ] || service_do reload "php$php_version-fpm" || fail service-down "PHP does not reload"
