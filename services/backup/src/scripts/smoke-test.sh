# Opens the restored site and asks it for its front page as a visitor would; closes it again when that fails.
#   in    site_user domain database_name (empty: none)
#   out   status
#   error restore-verification-failed  invalid-config  tool-missing
need curl
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
case $domain in '' | -* | *[!a-z0-9.-]*) fail invalid-config "the domain is impossible" ;; esac
flag=/var/lib/chom/maintenance/$site_user
closed() {
  : >"$flag"
  fail restore-verification-failed "$1"
}
if [ -n "$database_name" ]; then
  client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"
  "$client" "--defaults-extra-file=/etc/chom/sites/$site_user/db.cnf" "--database=$database_name" -e 'SELECT 1' >&2 ||
    closed "the site's database user cannot reach its database"
fi
rm -f -- "$flag"
# A pool that was just reloaded may need a moment.
for pause in 0 1 2 4; do
  sleep "$pause"
  status=$(curl --silent --show-error --output /dev/null --max-time 20 --write-out '%{http_code}' \
    --resolve "$domain:80:127.0.0.1" -- "http://$domain/" || :)
  case $status in [1234]??) break ;; esac
done
case $status in
  [1234]??) out status "$status" ;;
  *) closed "the front page answers ${status:-nothing}" ;;
esac
