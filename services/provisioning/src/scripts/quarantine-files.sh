# Moves a site's files, with a last dump of its database, to where nobody serves them; purges what is there too long.
# May run any number of times.
#   in    SYSTEM_USER  ROOT_PATH  DB_NAME (may be empty)  RUN (makes the folder's name)  KEEP_DAYS
#   out   moved=yes|no  path=<quarantine folder>
#   exit  0 done   75 error=disk-full   70 error=invalid-config, dump-incomplete
case ${SYSTEM_USER#s-} in "$SYSTEM_USER" | '' | *[!a-z0-9]*) fail invalid-config "not a site's user: $SYSTEM_USER" ;; esac
[ "$ROOT_PATH" = "/srv/sites/$SYSTEM_USER" ] || fail invalid-config "outside of the sites' folder: $ROOT_PATH"
case $DB_NAME in *[!a-z0-9_]*) fail invalid-config "not a database name: $DB_NAME" ;; esac
case $KEEP_DAYS in '' | *[!0-9]*) fail invalid-config "not a number of days: $KEEP_DAYS" ;; esac
if [ -L /srv/sites ] || [ -L "$ROOT_PATH" ]; then fail invalid-config "$ROOT_PATH is reached through a link"; fi

base=/var/lib/chom/quarantine
install -d -m 0700 -- "$base"
find "$base" -mindepth 1 -maxdepth 1 -type d -mtime "+$KEEP_DAYS" -exec rm -rf -- {} +
at=$base/$SYSTEM_USER.$RUN
install -d -m 0700 -- "$at"
touch -- "$at"

if [ -n "$DB_NAME" ] && command -v mariadb-dump >/dev/null && [ ! -e "$at/database.sql.gz" ] &&
  [ -n "$(printf "SELECT 1 FROM information_schema.schemata WHERE schema_name = '%s';\n" "$DB_NAME" |
    mariadb --user=root --batch --skip-column-names)" ]; then
  {
    mariadb-dump --user=root --single-transaction --quick --routines --triggers --events --hex-blob \
      --default-character-set=utf8mb4 -- "$DB_NAME" || echo 'dump failed'
  } | gzip >"$at/database.sql.gz.new"
  gzip -dc <"$at/database.sql.gz.new" | tail -n 1 | grep -q '^-- Dump completed' ||
    fail dump-incomplete "the last dump of $DB_NAME is not whole"
  mv -- "$at/database.sql.gz.new" "$at/database.sql.gz"
fi

copy_files() {
  disk_check "$base" "$(as_user "$SYSTEM_USER" du -sb -- "$ROOT_PATH" 2>/dev/null | awk '{ print $1 + 16777216 }')"
  install -d -m 0700 -- "$files"
  {
    code=0
    as_user "$SYSTEM_USER" tar --create --file=- --directory="$ROOT_PATH" --one-file-system . || code=$?
    # 1: something changed while it was read.
    [ "$code" -le 1 ] || echo "$code" >"$at/unread"
  } | tar --extract --file=- --directory="$files" --preserve-permissions --same-owner --delay-directory-restore ||
    fail unexpected "cannot copy $ROOT_PATH"
  if [ -s "$at/unread" ]; then
    rm -f -- "$at/unread"
    fail permission-denied "the site's user cannot read all of $ROOT_PATH"
  fi
  rm -rf --one-file-system -- "$ROOT_PATH"
}

moved=no
if [ -d "$ROOT_PATH" ]; then
  files=$at/files
  n=0
  # A run cut in the middle of a copy over file systems left a part: it is kept beside.
  while [ -e "$files" ]; do
    n=$((n + 1))
    files=$at/files.$n
  done
  if [ "$(stat -c %d -- "$ROOT_PATH")" = "$(stat -c %d -- "$base")" ]; then
    mv -T -- "$ROOT_PATH" "$files" || fail unexpected "cannot move $ROOT_PATH"
  else
    # A copy by name would follow what the site swaps meanwhile: it is read with the site's rights.
    copy_files
  fi
  moved=yes
fi
out moved "$moved"
out path "$at"
