# Takes a key away from an account: exactly the lines that hold its blob; all others stay byte for byte. Bears repeating.
#   in    LOGIN_USER  KEY_BLOB (base64)  KEEP_BLOB (base64; must be there afterwards)
#   out   changed=yes|no
#   exit  0 done   otherwise error=lockout-risk (the key to keep is not there), invalid-config, permission-denied,
#         disk-full
# shellcheck shell=sh disable=SC2154
need awk
for blob in "$KEY_BLOB" "$KEEP_BLOB"; do
  case $blob in '' | *[!A-Za-z0-9+/=]*) fail invalid-config "a key is not base64" ;; esac
done
[ "$KEY_BLOB" != "$KEEP_BLOB" ] || fail lockout-risk "the key to remove is the key to keep"

home=
while IFS=: read -r name _ uid gid _ at _; do
  [ "$name" = "$LOGIN_USER" ] || continue
  home=$at
  break
done </etc/passwd
[ -n "$home" ] || fail invalid-config "$LOGIN_USER has no home"
file=$home/.ssh/authorized_keys
[ ! -L "$home/.ssh" ] || fail permission-denied "$home/.ssh is a symbolic link"
[ ! -L "$file" ] || fail permission-denied "$file is a symbolic link"
[ -f "$file" ] || fail lockout-risk "$file is not there"

# shellcheck disable=SC2016 # an awk program
words='{ line = $0; sub(/\r$/, "", line); comment = (line ~ /^[ \t]*(#|$)/); mine = kept = 0
  n = split(line, words, /[ \t]+/)
  for (i = 1; i <= n && !comment; i++) { if (words[i] == blob) mine = 1; if (words[i] == keep) kept = 1 } }'
look() {
  awk -v blob="$KEY_BLOB" -v keep="$KEEP_BLOB" "$words"' { m += mine; k += kept } END { print (m > 0) "" (k > 0) }' "$1"
}
case $(look "$file") in
  ?0) fail lockout-risk "the key to keep is not in $file" ;;
  01)
    out changed no
    exit 0
    ;;
esac
after=$(mktemp "$home/.ssh/.chom.XXXXXX") || fail disk-full "cannot write in $home/.ssh"
trap 'rm -f -- "$after"' EXIT
awk -v blob="$KEY_BLOB" -v keep="$KEEP_BLOB" "$words"' !mine { print }' "$file" >"$after"
[ "$(look "$after")" = 01 ] || fail lockout-risk "removing the key would remove the other one, too"
write_file "$file" 0600 "$uid:$gid" <"$after"
out changed yes
