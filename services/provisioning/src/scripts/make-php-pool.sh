# Puts a site's PHP-FPM pool under one PHP version and takes it away from all others. May run any number of times.
#   in    SYSTEM_USER  PHP_VERSION  POOL (the file's text; secret, it holds the database password)
#   out   changed=yes|no
#   exit  0 done   75 error=lock-busy, service-down   70 error=fpm-test-failed, invalid-config, needs-operator
case $PHP_VERSION in [0-9].[0-9] | [0-9].[0-9][0-9]) ;; *) fail invalid-config "not a PHP version: $PHP_VERSION" ;; esac
need flock "php-fpm$PHP_VERSION"
folder=/etc/php/$PHP_VERSION/fpm/pool.d
[ -d "$folder" ] || fail invalid-config "PHP $PHP_VERSION has no pools here"
file=$folder/$SYSTEM_USER.conf
socket=/run/php/$SYSTEM_USER.sock

exec 9>>/run/lock/chom-php.lock
flock -w 60 9 || fail lock-busy "another job changes PHP"

apply() {
  pid=
  [ ! -s "/run/php/php$1-fpm.pid" ] || read -r pid <"/run/php/php$1-fpm.pid" || :
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    service_do reload "php$1-fpm" 9>&- || fail service-down "PHP $1 does not reload"
  else
    service_do start "php$1-fpm" 9>&- || fail service-down "PHP $1 does not start"
  fi
}

for other in /etc/php/*/fpm/pool.d/"$SYSTEM_USER.conf"; do
  if [ -f "$other" ] && [ "$other" != "$file" ]; then
    version=${other#/etc/php/}
    rm -f -- "$other"
    apply "${version%%/*}"
  fi
done

if [ -f "$file" ] && printf '%s' "$POOL" | cmp -s - "$file" && [ -S "$socket" ]; then
  out changed no
  exit 0
fi
previous=$(mktemp)
trap 'rm -f -- "$previous"' EXIT
had=no
if [ -f "$file" ]; then
  had=yes
  cat -- "$file" >"$previous"
fi
printf '%s' "$POOL" | write_file "$file" 0600 root:root
if ! "php-fpm$PHP_VERSION" -t >&2 2>&1; then
  if [ "$had" = yes ]; then write_file "$file" 0600 root:root <"$previous"; else rm -f -- "$file"; fi
  "php-fpm$PHP_VERSION" -t >&2 2>&1 || fail needs-operator "PHP $PHP_VERSION refused its pools before this one came"
  fail fpm-test-failed "PHP $PHP_VERSION refuses the pool"
fi
apply "$PHP_VERSION"
waited=0
until [ -S "$socket" ]; do
  [ "$waited" -lt 50 ] || fail service-down "PHP $PHP_VERSION did not open $socket within 10 s"
  waited=$((waited + 1))
  sleep 0.2
done
out changed yes
