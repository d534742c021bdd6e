# Looks in the server's log for log-ins with a key since a moment. Changes nothing.
#   in    FINGERPRINT (SHA256:…)  SINCE (seconds since 1970)
#   out   known=yes|no (whether there is a log with times to tell from)  uses=<n>  source=<address of the last>
#   exit  0 done
# shellcheck shell=sh disable=SC2154
case $SINCE in '' | *[!0-9]*) fail invalid-config "SINCE is no time" ;; esac
known=no
uses=0
undated=no
source_address=
if command -v journalctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
  known=yes
  lines=$(journalctl -q --no-pager -o cat --since "@$SINCE" _COMM=sshd + _COMM=sshd-session 2>/dev/null |
    awk -v key="$FINGERPRINT" 'index($0, "Accepted publickey") && $NF == key')
  if [ -n "$lines" ]; then
    uses=$(printf '%s\n' "$lines" | wc -l | tr -d ' ')
    source_address=$(printf '%s\n' "$lines" | tail -n 1 | awk '{ for (i = 1; i < NF; i++) if ($i == "from") print $(i + 1) }')
  fi
else
  for log in /var/log/auth.log /var/log/secure; do
    [ -r "$log" ] || continue
    known=yes
    # Few lines hold the fingerprint, so a process for each is cheap; both ISO and classic times are understood.
    lines=$(awk -v key="$FINGERPRINT" 'index($0, "Accepted publickey") && $NF == key' "$log" | tail -n 200)
    while IFS= read -r line; do
      [ -n "$line" ] || continue
      stamp=${line%% sshd*}
      case $stamp in
        [0-9][0-9][0-9][0-9]-*) stamp=${stamp%% *} ;;
        *) stamp=$(printf '%s' "$stamp" | awk '{ print $1, $2, $3 }') ;;
      esac
      # A log without times cannot tell before from after.
      if ! seconds=$(date -d "$stamp" +%s 2>/dev/null) || [ -z "$stamp" ]; then
        undated=yes
        continue
      fi
      [ "$seconds" -gt "$SINCE" ] || continue
      uses=$((uses + 1))
      source_address=$(printf '%s\n' "$line" | awk '{ for (i = 1; i < NF; i++) if ($i == "from") print $(i + 1) }')
    done <<LINES
$lines
LINES
  done
fi
[ "$undated" = no ] || known=no
out known "$known"
out uses "$uses"
out source "$source_address"
