# Makes an unpacked Laravel release the current one, with the environment and storage that all releases share.
# The application key is made once; the database's access is made what the record says. May run any number of times.
#   in    SYSTEM_USER  ROOT_PATH  RELEASE  DOMAIN  PHP_VERSION  DB_NAME  DB_USER  DB_PASSWORD (secret)  SOCKET
#   out   created=yes|no (the shared environment)
#   exit  0 done   70 error=permission-denied, invalid-config
need setpriv base64
case $DB_PASSWORD in *[!A-Za-z0-9]* | '') fail invalid-config "the password is not of A-Z a-z 0-9" ;; esac
as_site() {
  setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- "$@" 3>&-
}

env=$ROOT_PATH/shared/.env
created=yes
# Read and written with the site's own group, not nginx's: a link there could lead to what only nginx may read of a neighbour.
if as_user "$SYSTEM_USER" test -s "$env"; then
  created=no
  # What the site's owner set stays.
  kept=$(as_user "$SYSTEM_USER" grep -Ev '^(DB_(CONNECTION|HOST|SOCKET|DATABASE|USERNAME|PASSWORD))=' "$env" || :)
else
  kept=$(printf 'APP_NAME=%s\nAPP_ENV=production\nAPP_DEBUG=false\nAPP_URL=http://%s\nAPP_KEY=base64:%s\n' \
    "$DOMAIN" "$DOMAIN" "$(head -c 32 /dev/urandom | base64 | tr -d '\n')")
fi
# shellcheck disable=SC2016 # for the other shell
as_user "$SYSTEM_USER" sh -euc 'umask 077; cat >"$1.new"; mv -f -- "$1.new" "$1"' sh "$env" <<ENV ||
$kept
DB_CONNECTION=mysql
DB_HOST=localhost
DB_SOCKET=$SOCKET
DB_DATABASE=$DB_NAME
DB_USERNAME=$DB_USER
DB_PASSWORD=$DB_PASSWORD
ENV
  fail permission-denied "cannot write $env"

# Links are relative, so that a restored copy of the folder is whole.
# shellcheck disable=SC2016 # for the other shell
as_site sh -euc '
  cd -- "$1"
  release=releases/$2
  [ -e "$release/artisan" ] || { echo "no such release: $2" >&2; exit 1; }
  for folder in app/public framework/cache/data framework/sessions framework/views logs; do
    mkdir -p -- "shared/storage/$folder"
  done
  [ -L "$release/storage" ] || rm -rf -- "$release/storage"
  ln -sfn ../../shared/storage "$release/storage"
  ln -sfn ../../shared/.env "$release/.env"
  mkdir -p -- "$release/public" "$release/bootstrap/cache"
  ln -sfn ../../../shared/storage/app/public "$release/public/storage"
  ln -sfn "$release" .current.new
  mv -fT .current.new current' sh "$ROOT_PATH" "$RELEASE" || fail permission-denied "the release cannot be made current"

write_file "/etc/cron.d/chom-$SYSTEM_USER" 0644 root:root <<CRON
* * * * * $SYSTEM_USER cd $ROOT_PATH/current && /usr/bin/php$PHP_VERSION artisan schedule:run >/dev/null 2>&1
CRON
out created "$created"
