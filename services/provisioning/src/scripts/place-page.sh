# Puts a first page into an empty web root, with the site's own rights. Never touches a site that has files.
#   in    SYSTEM_USER  ROOT_PATH  FILE (index.html or index.php)  CONTENT
#   out   created=yes|no
#   exit  0 done   70 error=permission-denied
need setpriv
# shellcheck disable=SC2016 # for the other shell
created=$(printf '%s' "$CONTENT" | setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all \
  --no-new-privs -- sh -euc '
  cd -- "$1/public"
  if [ -n "$(ls -A)" ]; then
    cat >/dev/null
    echo no
  else
    cat >"./.$2.new"
    mv -- "./.$2.new" "./$2"
    echo yes
  fi' sh "$ROOT_PATH" "$FILE" 3>&-) || fail permission-denied "the first page cannot be written"
out created "$created"
