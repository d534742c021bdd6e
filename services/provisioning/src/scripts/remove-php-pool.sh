# Takes a site's PHP-FPM pool away, whatever PHP version has it. May run any number of times.
#   in    SYSTEM_USER
#   out   removed=yes|no
#   exit  0 done   75 error=lock-busy, service-down
need flock
exec 9>>/run/lock/chom-php.lock
flock -w 60 9 || fail lock-busy "another job changes PHP"
removed=no
for file in /etc/php/*/fpm/pool.d/"$SYSTEM_USER.conf"; do
  [ -f "$file" ] || continue
  version=${file#/etc/php/}
  version=${version%%/*}
  rm -f -- "$file"
  removed=yes
  # PHP-FPM does not run without any pool.
  set -- "/etc/php/$version/fpm/pool.d"/*.conf
  if [ -e "$1" ]; then how=reload; else how=stop; fi
  service_do "$how" "php$version-fpm" 9>&- || fail service-down "PHP $version does not $how"
done
rm -f -- "/run/php/$SYSTEM_USER.sock"
out removed "$removed"
