# Puts everything back as it was before the restore and opens the site; does nothing once the restore was confirmed.
# May run any number of times, after any part of swap-in.
#   in    site_user root_path database_name restore_id has_files has_database (yes or no) php_version (empty: none)
#   error invalid-config  db-gone-away  service-down
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $restore_id in '' | *[!a-z0-9-]*) fail invalid-config "the restore has an impossible id" ;; esac
case $php_version in *[!0-9.]*) fail invalid-config "the PHP version is impossible" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
state=/var/lib/chom/restores/$restore_id
[ ! -e "$state/confirmed" ] || exit 0
if [ -e "$root_path.before" ] || [ -e "$state/old-objects.sql" ]; then
  install -d -m 0755 -- /var/lib/chom/maintenance
  : >"/var/lib/chom/maintenance/$site_user"
fi

files_back() {
  stage=$root_path.restore
  before=$root_path.before
  [ -d "$before" ] || return 0
  if [ -e "$root_path" ]; then
    for kept in tmp sessions logs; do
      [ -e "$before/$kept" ] || [ ! -d "$root_path/$kept" ] || [ -L "$root_path/$kept" ] ||
        mv -T -- "$root_path/$kept" "$before/$kept"
    done
    [ ! -e "$stage" ] || rm -rf --one-file-system -- "$stage"
    mv -T -- "$root_path" "$stage"
  fi
  mv -T -- "$before" "$root_path"
  rm -f -- "$before.restore-id" "$state/files-swapped"
}

client=
database_back() {
  case $database_name in '' | *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
  [ -s "$state/old-objects.sql" ] || return 0
  client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
  marks=$(ask "SELECT COUNT(*) FROM information_schema.tables
    WHERE table_schema = '${database_name}__b' AND table_name = 'chom__mark'")
  drop_objects
  if [ "$marks" != 0 ]; then
    { moves "$database_name" "${database_name}__r" &&
      moves "${database_name}__b" "$database_name" "AND table_name <> 'chom__mark'" &&
      printf '%s\n' "\`${database_name}__b\`.\`chom__mark\` TO \`${database_name}__r\`.\`chom__mark\`"; } >"$state/moves" ||
      fail db-gone-away
    { printf 'SET foreign_key_checks = 0; RENAME TABLE '; paste -s -d , -- "$state/moves"; printf ';\n'; } |
      "$client" --default-character-set=utf8mb4 || fail db-gone-away "the tables could not change back"
  fi
  # shellcheck disable=SC2016 # backticks are SQL's here
  sed -E '/^(\/\*![0-9]+ (CREATE|DEFINER)|CREATE DEFINER)/s/DEFINER=`([^`]|``)*`@`([^`]|``)*`//' "$state/old-objects.sql" |
    "$client" "--defaults-extra-file=/etc/chom/sites/$site_user/db.cnf" --binary-mode --default-character-set=utf8mb4 \
      "--database=$database_name" || fail db-gone-away "views, triggers or routines cannot be made again"
  # Written down for this swap alone: the next one looks anew.
  rm -f -- "$state/database-swapped" "$state/new-objects.sql" "$state/old-objects.sql"
}

ask() {
  printf '%s;\n' "$1" | "$client" --batch --raw --skip-column-names --default-character-set=utf8mb4 ||
    fail db-gone-away "a question to the database failed"
}
moves() {
  ask "SELECT CONCAT('\`$1\`.\`', REPLACE(table_name, '\`', '\`\`'), '\` TO \`$2\`.\`', REPLACE(table_name, '\`', '\`\`'), '\`')
    FROM information_schema.tables WHERE table_schema = '$1' AND table_type = 'BASE TABLE' ${3:-}"
}
drop_objects() {
  for kind in trigger routine event view; do
    case $kind in
      trigger) type="'TRIGGER'" name=trigger_name from=triggers schema=trigger_schema ;;
      routine) type=routine_type name=routine_name from=routines schema=routine_schema ;;
      event) type="'EVENT'" name=event_name from=events schema=event_schema ;;
      *) type="'VIEW'" name=table_name from=views schema=table_schema ;;
    esac
    ask "SELECT CONCAT('DROP ', $type, ' \`$database_name\`.\`', REPLACE($name, '\`', '\`\`'), '\`;')
      FROM information_schema.$from WHERE $schema = '$database_name'"
  done >"$state/drops"
  "$client" --default-character-set=utf8mb4 <"$state/drops" || fail db-gone-away "objects cannot be dropped"
}

[ "$has_database" != yes ] || database_back
[ "$has_files" != yes ] || files_back
[ -z "$php_version" ] || service_do reload "php$php_version-fpm" || fail service-down "PHP does not reload"
rm -f -- "/var/lib/chom/maintenance/$site_user"
