# Serves a token of the certificate authority and waits until nginx answers with it. May run any number of times.
# Tokens of earlier days are removed.
#   in    DOMAIN  TOKEN  KEY_AUTHORIZATION
#   out   (nothing)
#   exit  0 done   75 error=http-check-failed   70 error=tool-missing, invalid-config
need curl install find
folder=/var/lib/chom/acme/.well-known/acme-challenge
# It becomes a file name: checked here too, whoever asks.
case $TOKEN in
  '' | *[!A-Za-z0-9_-]*) fail invalid-config "the token is none" ;;
esac
install -d -m 0755 -- "$folder"
find "$folder" -type f -mmin +1440 -delete
printf %s "$KEY_AUTHORIZATION" | write_file "$folder/$TOKEN" 0644 root:root

# Not by name: what DNS says was asked before, and the first reload after provisioning may still be going on.
waited=0
while [ "$waited" -lt 40 ]; do
  served=$(curl -s --noproxy '*' --max-time 3 --header "Host: $DOMAIN" \
    "http://127.0.0.1/.well-known/acme-challenge/$TOKEN" 2>/dev/null) || served=
  [ "$served" != "$KEY_AUTHORIZATION" ] || exit 0
  waited=$((waited + 1))
  sleep 0.25 2>/dev/null || sleep 1
done
fail http-check-failed "nginx does not serve the token of $DOMAIN on port 80"
