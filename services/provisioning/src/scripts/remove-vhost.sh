# Takes a site out of nginx with everything that belongs to its server there. May run any number of times.
#   in    SYSTEM_USER
#   out   removed=yes|no
#   exit  0 done   75 error=lock-busy, service-down   70 error=nginx-test-failed, invalid-config
case ${SYSTEM_USER#s-} in "$SYSTEM_USER" | '' | *[!a-z0-9]*) fail invalid-config "not a site's user: $SYSTEM_USER" ;; esac
need nginx flock
exec 9>>/run/lock/chom-nginx.lock
flock -w 60 9 || fail lock-busy "another job changes nginx"
removed=no
for at in "/etc/nginx/sites-enabled/$SYSTEM_USER.conf" "/etc/nginx/sites-available/$SYSTEM_USER.conf"; do
  if [ -e "$at" ] || [ -L "$at" ]; then
    rm -f -- "$at"
    removed=yes
  fi
done
nginx_apply 9>&-
# After the reload: until then nginx may read them.
rm -rf -- "/etc/nginx/chom/$SYSTEM_USER" "/etc/chom/tls/$SYSTEM_USER"
rm -f -- "/etc/cron.d/chom-$SYSTEM_USER" "/var/lib/chom/maintenance/$SYSTEM_USER"
out removed "$removed"
