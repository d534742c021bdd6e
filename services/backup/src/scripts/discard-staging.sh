# Removes what a restore staged or set aside. With confirm=yes the restore is good: from then on nothing swaps back.
# May run any number of times.
#   in    site_user root_path database_name (empty: none) restore_id confirm (yes or no)
#   error invalid-config  db-gone-away
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $restore_id in '' | *[!a-z0-9-]*) fail invalid-config "the restore has an impossible id" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
state=/var/lib/chom/restores/$restore_id
if [ "$confirm" = yes ]; then
  [ -d "$root_path" ] || fail invalid-config "there is no folder $root_path"
  install -d -m 0700 -- "$state"
  : >"$state/confirmed"
fi
if [ "$confirm" = yes ] || [ ! -e "$root_path.before" ]; then
  rm -rf --one-file-system -- "$root_path.before" "$root_path.restore"
  rm -f -- "$root_path.before.restore-id"
fi
if [ -n "$database_name" ]; then
  case $database_name in *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
  client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
  marks=$(printf "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '%s__b' AND table_name = 'chom__mark';" \
    "$database_name" | "$client" --batch --skip-column-names) || fail db-gone-away
  # The mark there means that the site's own tables are there too: they go only when the restore is confirmed.
  if [ "$confirm" = yes ] || [ "$marks" = 0 ]; then
    granted=$(printf %s "${database_name}__r" | sed 's/_/\\_/g')
    "$client" -e "DROP DATABASE IF EXISTS \`${database_name}__r\`; DROP DATABASE IF EXISTS \`${database_name}__b\`;" ||
      fail db-gone-away
    "$client" -e "REVOKE ALL PRIVILEGES ON \`$granted\`.* FROM '$database_name'@'localhost'" >&2 2>&1 || :
  fi
fi
