# Installs a chain beside its key, switches the site to it and sees it on the wire, or puts everything back.
# The site's own configuration is never touched: TLS is a file that its server block includes. May run any number of times.
#   in    SYSTEM_USER  VERSION  DOMAIN  CHAIN (PEM)  FINGERPRINT (SHA-256 of the certificate, hex)
#   out   changed=yes|no
#   exit  0 done   75 error=lock-busy, cert-deploy-failed, disk-full   70 error=cert-mismatch, nginx-test-failed,
#         nginx-foreign-config, tool-missing
need nginx flock openssl readlink mv
home=/etc/chom/tls/$SYSTEM_USER
folder=$home/$VERSION
include=/etc/nginx/chom/$SYSTEM_USER
[ -d "$include" ] || fail cert-deploy-failed "the site has no place for its TLS part: $include"
[ -s "$folder/key.pem" ] || fail cert-deploy-failed "the key of this version is gone"
disk_check "$folder" 1048576
printf %s "$CHAIN" | write_file "$folder/fullchain.pem" 0600 root:root
asked=$(openssl pkey -in "$folder/key.pem" -pubout)
given=$(openssl x509 -in "$folder/fullchain.pem" -noout -pubkey) || fail cert-mismatch "the chain cannot be read"
[ "$asked" = "$given" ] || fail cert-mismatch "the certificate is for another key"

exec 9>>/run/lock/chom-nginx.lock
flock -w 60 9 || fail lock-busy "another job changes nginx"

wanted=$(mktemp)
before=$(mktemp)
trap 'rm -f -- "$wanted" "$before"' EXIT
{
  echo 'listen 443 ssl;'
  # Only beside a default server there: otherwise this site would answer for every unknown name.
  if grep -q '\[::\]:443' /etc/nginx/conf.d/chom-default.conf 2>/dev/null; then
    echo 'listen [::]:443 ssl;'
  fi
  echo "ssl_certificate $home/current/fullchain.pem;"
  echo "ssl_certificate_key $home/current/key.pem;"
} >"$wanted"

fingerprint_of() { openssl x509 -noout -fingerprint -sha256 2>/dev/null | sed 's/.*=//' | tr -d ':' | tr 'A-F' 'a-f'; }
# on_wire FINGERPRINT: whether visitors of the name get this certificate now.
on_wire() {
  seen=$(openssl s_client -connect 127.0.0.1:443 -servername "$DOMAIN" </dev/null 2>/dev/null | fingerprint_of) || seen=
  [ "$seen" = "$1" ]
}
# seen_soon FINGERPRINT: waits up to 10 s for it; workers of before still answer for a moment.
seen_soon() {
  waited=0
  while [ "$waited" -lt 20 ]; do
    if on_wire "$1"; then return 0; fi
    waited=$((waited + 1))
    sleep 0.5 2>/dev/null || sleep 1
  done
  return 1
}
switch_to() {
  ln -sfn -- "$1" "$home/current.new" && mv -fT -- "$home/current.new" "$home/current"
}

previous=$(readlink -- "$home/current") || previous=
if [ "$previous" = "$VERSION" ] && cmp -s "$wanted" "$include/tls.conf" && on_wire "$FINGERPRINT"; then
  out changed no
  exit 0
fi
# A run that was cut may have switched already: back means to the version that served before it.
[ "$previous" != "$VERSION" ] || previous=$(cat -- "$folder/previous" 2>/dev/null) || previous=
printf %s "$previous" | write_file "$folder/previous" 0600 root:root
had=no
if [ -f "$include/tls.conf" ] && [ -n "$previous" ]; then
  had=yes
  cat -- "$include/tls.conf" >"$before"
fi

put_back() {
  if [ "$had" = yes ]; then
    switch_to "$previous"
    write_file "$include/tls.conf" 0644 root:root <"$before"
  else
    rm -f -- "$include/tls.conf" "$home/current"
  fi
}
switch_to "$VERSION"
write_file "$include/tls.conf" 0644 root:root <"$wanted"
if ! said=$(nginx -t 2>&1); then
  put_back
  if nginx -t >&2 2>&1; then fail nginx-test-failed "$said"; fi
  fail nginx-foreign-config "nginx refused its configuration without this certificate too: $said"
fi
# Its own failure is not the answer: what was before comes back first.
if (nginx_apply) 3>/dev/null 9>&- && seen_soon "$FINGERPRINT"; then
  # Keys and chains of a month ago are of no use for going back.
  find "$home" -mindepth 1 -maxdepth 1 -type d -mtime +30 \
    ! -name "$VERSION" ! -name "${previous:-none}" -exec rm -rf -- {} +
  out changed yes
  exit 0
fi
put_back
(nginx_apply) 3>/dev/null 9>&- || echo "nginx does not reload" >&2
if [ "$had" = no ]; then
  fail cert-deploy-failed "nginx does not answer for $DOMAIN with the new certificate; its TLS part is gone again"
fi
seen_soon "$(fingerprint_of <"$home/current/fullchain.pem")" || echo "the one before is not served yet" >&2
fail cert-deploy-failed "nginx does not answer for $DOMAIN with the new certificate; the one before is back"
