# Looks at a server before a site is put on it. Changes nothing, so it may run any number of times.
#   in    SYSTEM_USER  DOMAIN
#   out   os=<id version>  free_bytes=  free_inodes=  ipv6=yes|no  php_version=<n.n> (repeats, lowest first)
#         port_80=nginx|free|<program>  nginx=ok|broken|absent  vhost_conflict=<file or empty>
#         database=running|down|absent  address=<ip> (repeats)
#   exit  0 done   70 error=tool-missing
need awk df find grep setpriv flock tar gzip sha256sum perl useradd

# The program that listens on a TCP port, by the socket's inode; nothing when nobody listens.
listener() {
  inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }')
  [ -n "$inode" ] || return 0
  at=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1 || :)
  at=${at#/proc/}
  cat "/proc/${at%%/*}/comm" 2>/dev/null || printf 'unknown\n'
}

# The first file, other than the site's own, in which nginx knows the name.
name_owner() {
  nginx -T 2>/dev/null | DOMAIN="$DOMAIN" OWN="/$SYSTEM_USER.conf" awk '
    /^# configuration file / { file = $4; sub(/:$/, "", file); collecting = 0; next }
    index(file, ENVIRON["OWN"]) { next }
    {
      sub(/#.*/, "")
      gsub(/[;{}]/, " & ")
      for (i = 1; i <= NF; i++) {
        if ($i == "server_name") collecting = 1
        else if ($i == ";") collecting = 0
        else if (collecting && tolower($i) == ENVIRON["DOMAIN"]) { print file; exit }
      }
    }'
}

os=unknown
if [ -r /etc/os-release ]; then
  # shellcheck source=/dev/null
  os=$(. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}")
fi
out os "$os"
sites=/srv
[ ! -d /srv/sites ] || sites=/srv/sites
out free_bytes "$(df -Pk -- "$sites" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')"
# A file system that makes inodes as it needs them shows none: that is enough.
out free_inodes "$(df -Pi -- "$sites" | awk 'NR == 2 { print ($2 > 0) ? $4 : 1000000 }')"
if [ -s /proc/net/if_inet6 ]; then out ipv6 yes; else out ipv6 no; fi

find /etc/php -mindepth 1 -maxdepth 1 -type d -name '[0-9].[0-9]*' 2>/dev/null | sort -t . -k 1.10n,1 -k 2n |
  while IFS= read -r folder; do
    version=${folder##*/}
    [ ! -d "$folder/fpm/pool.d" ] || ! command -v "php-fpm$version" >/dev/null || out php_version "$version"
  done

owner=$(listener 80)
out port_80 "${owner:-free}"
if ! command -v nginx >/dev/null; then
  out nginx absent
  out vhost_conflict ''
elif nginx -t >&2 2>&1; then
  out nginx ok
  out vhost_conflict "$(name_owner)"
else
  out nginx broken
  out vhost_conflict ''
fi

if ! command -v mariadb >/dev/null; then
  out database absent
elif mariadb --user=root --connect-timeout=5 --execute='SELECT 1' >/dev/null; then
  out database running
else
  out database down
fi

if command -v ip >/dev/null; then
  ip -o addr show scope global | awk '{ sub(/\/.*/, "", $4); print "address=" $4 }' | sort -u >&3
else
  hostname -I 2>/dev/null | tr ' ' '\n' | awk 'NF { print "address=" $1 }' >&3
fi
