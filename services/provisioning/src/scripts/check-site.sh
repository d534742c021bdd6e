# Asks a finished site the questions of a visitor, of its database and of its neighbours. Leaves nothing behind.
#   in    SYSTEM_USER  ROOT_PATH  WEB_ROOT  DOMAIN  TOKEN  PHP (yes or no)  DATABASE (yes or no)
#   out   status=<HTTP status of />  database=ok|none
#   exit  0 done   75 error=http-check-failed   70 error=needs-operator, db-auth, tool-missing
need perl setpriv
as_site() {
  setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- "$@" 3>&-
}
# http_get PATH: the status line, then the headers and the body, as nginx on this server answers the site's name.
# perl-base is part of every Debian, curl is not.
# shellcheck disable=SC2016 # for perl
http_get() {
  perl -MIO::Socket::INET -e '
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:80", Timeout => 5) or exit 7;
    alarm 20;
    print $socket "GET $ARGV[1] HTTP/1.0\r\nHost: $ARGV[0]\r\nUser-Agent: chom\r\n\r\n";
    my $seen = 0;
    while (defined(my $line = <$socket>) and $seen < 262144) { $seen += length $line; print $line; }
  ' "$DOMAIN" "$1" 2>&1
}

extension=txt
[ "$PHP" = no ] || extension=php
page=chom-check-$TOKEN.$extension
# shellcheck disable=SC2016 # for the other shell
trap 'as_site rm -f -- "$WEB_ROOT/$page"' EXIT
# shellcheck disable=SC2016 # for PHP and the other shell
if [ "$PHP" = yes ]; then
  printf '%s' '<?php
header("Cache-Control: no-store");
mysqli_report(MYSQLI_REPORT_OFF);
$link = getenv("DB_NAME") ? @mysqli_connect("localhost", getenv("DB_USER"), getenv("DB_PASSWORD"),
    getenv("DB_NAME"), 0, getenv("DB_SOCKET")) : null;
$answer = $link ? mysqli_query($link, "SELECT DATABASE()")->fetch_row()[0] : "none";
echo basename(__FILE__), " user=", posix_getpwuid(posix_geteuid())["name"], " database=", $answer, "\n";
'
else
  printf '%s\n' "$page"
fi | as_site sh -euc 'cat >"$1"' sh "$WEB_ROOT/$page" || fail permission-denied "cannot write to the web root"

wanted=$page
[ "$PHP" = no ] || wanted="$page user=$SYSTEM_USER "
waited=0
while :; do
  answer=$(http_get "/$page") || :
  case $answer in "HTTP/1.1 200"*"$wanted"*) break ;; esac
  [ "$waited" -lt 20 ] ||
    fail http-check-failed "the site does not serve its own page: $(printf '%s' "$answer" | head -c 400)"
  waited=$((waited + 1))
  sleep 0.5
done
if [ "$DATABASE" = yes ]; then
  case $answer in
    *" database=none"*) fail db-auth "PHP cannot reach the site's database" ;;
    *) out database ok ;;
  esac
else
  out database none
fi

front=$(http_get / | head -n 40 | tr -d '\r') || :
status=$(printf '%s\n' "$front" | awk 'NR == 1 { print $2 }')
case $status in 2?? | 30?) ;; *) fail http-check-failed "the front page answers ${status:-nothing}" ;; esac
case $front in *wp-admin/install.php*) fail http-check-failed "WordPress is not installed" ;; esac
out status "$status"

# Everything below the root is the site's own, and nobody else may write there.
strange=$(find "$ROOT_PATH" -xdev \( ! -user "$SYSTEM_USER" -o ! -type l -perm -0002 \) -print | head -n 5)
[ -z "$strange" ] || fail needs-operator "owned by others or writable by all: $strange"
for other in /srv/sites/s-*; do
  if [ "$other" = "$ROOT_PATH" ] || [ ! -d "$other" ]; then continue; fi
  if as_user "$SYSTEM_USER" test -x "$other" || as_user "$SYSTEM_USER" test -r "$other"; then
    fail needs-operator "the site's user may enter $other"
  fi
done
if as_user "$SYSTEM_USER" test -r "/etc/chom/sites/$SYSTEM_USER/db.cnf"; then
  fail needs-operator "the site's user may read root's files"
fi
