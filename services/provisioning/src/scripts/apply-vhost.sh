# Gives a site its nginx server, or leaves nginx exactly as it was. May run any number of times.
#   in    SYSTEM_USER  VHOST (the file's text)
#   out   changed=yes|no
#   exit  0 done   75 error=lock-busy, service-down   70 error=nginx-test-failed, nginx-foreign-config
need nginx flock
file=/etc/nginx/sites-available/$SYSTEM_USER.conf
link=/etc/nginx/sites-enabled/$SYSTEM_USER.conf

exec 9>>/run/lock/chom-nginx.lock
flock -w 60 9 || fail lock-busy "another job changes nginx"

previous=$(mktemp)
trap 'rm -f -- "$previous"' EXIT
had=no
if [ -f "$file" ]; then
  had=yes
  cat -- "$file" >"$previous"
fi
enabled=no
[ ! -L "$link" ] || enabled=yes
if [ "$had$enabled" = yesyes ] && printf '%s' "$VHOST" | cmp -s - "$file"; then
  # The files may be older than the running configuration: the last run may have been cut before its reload.
  nginx_apply 9>&-
  out changed no
  exit 0
fi
printf '%s' "$VHOST" | write_file "$file" 0644 root:root
ln -sfn -- "$file" "$link"
if ! said=$(nginx -t 2>&1); then
  if [ "$had" = yes ]; then write_file "$file" 0644 root:root <"$previous"; else rm -f -- "$file"; fi
  [ "$enabled" = yes ] || rm -f -- "$link"
  if nginx -t >&2 2>&1; then fail nginx-test-failed "$said"; fi
  fail nginx-foreign-config "nginx refused its configuration before this site came: $said"
fi
nginx_apply 9>&-
out changed yes
