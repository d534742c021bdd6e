# Says which key this very connection logged in with, as far as the server can tell. Changes nothing.
#   in    LOGIN_USER
#   out   proof=auth-info|log|none  key=<base64 blob or empty>  fingerprint=<SHA256:… or empty>
#   exit  0 done
# shellcheck shell=sh disable=SC2154
# ExposeAuthInfo: sshd wrote the methods that succeeded into a file for this session.
if [ -n "${chom_auth:-}" ] && [ -r "$chom_auth" ]; then
  key=$(awk '$1 == "publickey" { print $3 }' "$chom_auth")
  out proof auth-info
  out key "$key"
  out fingerprint ""
  exit 0
fi
# sshd logs with the process id of the connection or of its parent.
parent=0
if chom_stat "$chom_peer"; then parent=$chom_parent; fi
entries() {
  if command -v journalctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    journalctl -q --no-pager --since -10min _COMM=sshd + _COMM=sshd-session 2>/dev/null
  fi
  for log in /var/log/auth.log /var/log/secure /var/log/messages; do
    [ ! -r "$log" ] || tail -n 2000 -- "$log"
  done
}
found=$(entries | awk -v user="$LOGIN_USER" -v own="[$chom_peer]:" -v parent="[$parent]:" '
  (index($0, own) || index($0, parent)) && index($0, "Accepted publickey for " user " ") { print $NF }' | tail -n 1)
case $found in
  SHA256:*) out proof log ;;
  *)
    found=
    out proof none
    ;;
esac
out key ""
out fingerprint "$found"
