# Removes the Unix user of a site and what root kept for it. Files of the site are not touched here.
# May run any number of times.
#   in    SYSTEM_USER
#   out   removed=yes|no
#   exit  0 done   75 error=lock-busy   70 error=invalid-config
case ${SYSTEM_USER#s-} in "$SYSTEM_USER" | '' | *[!a-z0-9]*) fail invalid-config "not a site's user: $SYSTEM_USER" ;; esac
need userdel
removed=no
if id -u -- "$SYSTEM_USER" >/dev/null 2>&1; then
  uid=$(id -u -- "$SYSTEM_USER")
  # Whatever the site left running must not outlive it.
  for at in /proc/[0-9]*; do
    owner=$(awk '$1 == "Uid:" { print $2 }' "$at/status" 2>/dev/null) || continue
    [ "$owner" != "$uid" ] || kill -KILL "${at#/proc/}" 2>/dev/null || :
  done
  code=0
  userdel -- "$SYSTEM_USER" >&2 || code=$?
  case $code in
    0 | 6) removed=yes ;;
    1 | 8 | 10) fail lock-busy "the user cannot be removed yet" ;;
    *) fail unexpected "userdel ended with $code" ;;
  esac
fi
rm -rf -- "/etc/chom/sites/$SYSTEM_USER" "/etc/nginx/chom/$SYSTEM_USER"
rm -f -- "/etc/cron.d/chom-$SYSTEM_USER"
out removed "$removed"
