# Shows visitors the maintenance page (503) until the site is opened again. May run any number of times.
#   in    site_user
#   error invalid-config
case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
install -d -m 0755 -o root -g root -- /var/lib/chom/maintenance
: >"/var/lib/chom/maintenance/$site_user"
