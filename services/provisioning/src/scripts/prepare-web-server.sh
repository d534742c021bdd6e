# Makes what all sites of a server share: folders, the ACME location and the servers that answer unknown names.
# Changes only what is not so yet; may run any number of times.
#   in    IPV6 (yes or no)
#   out   changed=yes|no
#   exit  0 done   75 error=lock-busy, service-down   70 error=nginx-foreign-config, tool-missing
need nginx flock install
config=/etc/nginx/conf.d/chom-default.conf

# A path through which visitors are served must let nginx pass, without showing what else is there.
install -d -m 0711 /var/lib/chom /srv/sites
install -d -m 0755 /var/lib/chom/acme /var/lib/chom/acme/.well-known \
  /var/lib/chom/acme/.well-known/acme-challenge /var/lib/chom/maintenance /etc/nginx/chom
install -d -m 0700 /var/lib/chom/quarantine /var/lib/chom/uploads
install -d -m 0755 /etc/chom
install -d -m 0700 /etc/chom/sites /etc/chom/tls

exec 9>>/run/lock/chom-nginx.lock
flock -w 60 9 || fail lock-busy "another job changes nginx"

six() { [ "$IPV6" != yes ] || printf '    listen [::]:%s default_server;\n' "$1"; }
wanted=$(mktemp)
previous=$(mktemp)
trap 'rm -f -- "$wanted" "$previous"' EXIT
{
  # The longest name that DNS allows must fit; said twice, nginx refuses it.
  if ! nginx -T 2>/dev/null | awk -v own="$config:" '
      /^# configuration file / { file = $4; next }
      file != own && $1 == "server_names_hash_bucket_size" { found = 1 }
      END { exit !found }'; then
    echo 'server_names_hash_bucket_size 512;'
  fi
  echo 'server {'
  echo '    listen 80 default_server;'
  six 80
  cat <<'CONF'
    server_name _;
    location ^~ /.well-known/acme-challenge/ {
        root /var/lib/chom/acme;
        default_type text/plain;
        try_files $uri =404;
    }
    location / {
        return 404;
    }
}
server {
    listen 443 ssl default_server;
CONF
  six '443 ssl'
  echo '    ssl_reject_handshake on;'
  echo '}'
} >"$wanted"

# The sample site that comes with Debian's package claims the same place; its file stays.
sample=no
if [ -L /etc/nginx/sites-enabled/default ] &&
  [ "$(readlink -f /etc/nginx/sites-enabled/default)" = /etc/nginx/sites-available/default ]; then
  sample=yes
fi
if [ "$sample" = no ] && cmp -s "$wanted" "$config" && [ -s /run/nginx.pid ]; then
  out changed no
  exit 0
fi
had=no
if [ -f "$config" ]; then
  had=yes
  cat "$config" >"$previous"
fi
[ "$sample" = no ] || rm -f /etc/nginx/sites-enabled/default
write_file "$config" 0644 root:root <"$wanted"
if ! nginx -t >&2 2>&1; then
  if [ "$had" = yes ]; then write_file "$config" 0644 root:root <"$previous"; else rm -f "$config"; fi
  [ "$sample" = no ] || ln -sf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default
  fail nginx-foreign-config "nginx refuses the default servers beside what others configured"
fi
nginx_apply 9>&-
out changed yes
