# Makes an empty place for a restore beside the site, and clears what an earlier one left. May run any number of times.
#   in    site_user root_path database_name (empty: none) restore_id has_files has_database (yes or no) needed_bytes
#   error invalid-config  disk-full  inodes-full  db-auth  db-gone-away  needs-operator (an unfinished swap is there)
need stat install

case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $restore_id in '' | *[!a-z0-9-]*) fail invalid-config "the restore has an impossible id" ;; esac
case $needed_bytes in '' | *[!0-9]*) fail invalid-config "the size is no number" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"

state=/var/lib/chom/restores/$restore_id
stage=$root_path.restore
before=$root_path.before
# A tree that was set aside and never taken back or let go: only its own restore may go on with it.
if [ -e "$before" ] && [ "$(cat -- "$before.restore-id" 2>/dev/null || :)" != "$restore_id" ]; then
  fail needs-operator "$before is left of another restore"
fi
if [ ! -e "$before" ]; then
  if [ ! -d "$root_path" ] || [ -L "$root_path" ]; then fail invalid-config "there is no folder $root_path"; fi
  # What an earlier generation of this restore wrote down no longer holds.
  rm -rf -- "$state"
fi
install -d -m 0700 -o root -g root -- /var/lib/chom/restores "$state"
find /var/lib/chom/restores -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf -- {} +

if [ "$has_files" = yes ]; then
  disk_check "$(dirname -- "$root_path")" "$needed_bytes"
  rm -rf --one-file-system -- "$stage"
  install -d -m 0700 -o "$site_user" -g www-data -- "$stage"
fi
if [ "$has_database" = yes ]; then
  case $database_name in '' | *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
  client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
  # An underscore in the name of a grant is a wildcard unless it is escaped.
  granted=$(printf %s "${database_name}__r" | sed 's/_/\\_/g')
  # The mark moves with the tables, so that it tells on which side of the swap they are.
  "$client" -e "DROP DATABASE IF EXISTS \`${database_name}__r\`;
    CREATE DATABASE \`${database_name}__r\` CHARACTER SET utf8mb4;
    CREATE TABLE \`${database_name}__r\`.\`chom__mark\` (id INT) ENGINE=InnoDB;
    CREATE DATABASE IF NOT EXISTS \`${database_name}__b\` CHARACTER SET utf8mb4;
    GRANT ALL PRIVILEGES ON \`$granted\`.* TO '$database_name'@'localhost';" ||
    fail db-gone-away "no place for the database"
fi
