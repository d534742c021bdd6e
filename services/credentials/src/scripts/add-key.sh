# Lets a key open an account: one line in the managed block of its authorized_keys. Bears repeating.
#   in    LOGIN_USER  KEY_BLOB (base64)  KEY_COMMENT  KEY_FROM (networks, comma-separated, or empty)  KEY_RUNNER (yes|no)
#   out   changed=yes|no  others=<usable lines beside ours>  drift=<lines in the managed block, before, that we do not write so>
#   exit  0 done   otherwise error=invalid-config (no such user, odd values), permission-denied (a link, not writable),
#         disk-full, tool-missing (no runner)
# shellcheck shell=sh disable=SC2154
need awk
case $KEY_BLOB in '' | *[!A-Za-z0-9+/=]*) fail invalid-config "the key is not base64" ;; esac
case $KEY_COMMENT in '' | *[!A-Za-z0-9:-]*) fail invalid-config "the comment holds odd characters" ;; esac
runner=/usr/local/lib/chom
# Through the runner nobody loosens what this server was told when the runner was installed.
if [ "${chom_runner:-no}" = yes ]; then
  KEY_RUNNER=yes
  KEY_FROM=
  [ ! -s "$runner/from" ] || IFS= read -r KEY_FROM <"$runner/from"
fi
case $KEY_FROM in *[!0-9A-Fa-f.:,/]*) fail invalid-config "the networks hold odd characters" ;; esac
options=restrict
[ -z "$KEY_FROM" ] || options="$options,from=\"$KEY_FROM\""
if [ "$KEY_RUNNER" = yes ]; then
  [ -x "$runner/runner" ] || fail tool-missing "$runner/runner is not installed"
  options="$options,command=\"exec $runner/runner\""
fi

home=
while IFS=: read -r name _ uid gid _ at _; do
  [ "$name" = "$LOGIN_USER" ] || continue
  home=$at
  break
done </etc/passwd
if [ -z "$home" ] || [ ! -d "$home" ]; then fail invalid-config "$LOGIN_USER has no home"; fi
folder=$home/.ssh
file=$folder/authorized_keys
[ ! -L "$folder" ] || fail permission-denied "$folder is a symbolic link"
[ ! -L "$file" ] || fail permission-denied "$file is a symbolic link"
[ ! -e "$file" ] || [ -f "$file" ] || fail permission-denied "$file is no file"

if [ ! -d "$folder" ]; then
  mkdir -m 0700 -- "$folder" || fail permission-denied "cannot make $folder"
  chown -- "$uid:$gid" "$folder"
fi
before=$(mktemp "$folder/.chom.XXXXXX") || fail disk-full "cannot write in $folder"
trap 'rm -f -- "$before"' EXIT
if [ -e "$file" ]; then cat -- "$file" >"$before"; fi

# Somebody took the options off a line of ours, gave it others, or put one of his own there.
drift=$(awk '
  { sub(/\r$/, "") }
  $0 == "# END chom managed keys" { inside = 0 }
  inside && $0 !~ /^restrict(,from="[0-9A-Fa-f.:,\/]+")?(,command="exec \/usr\/local\/lib\/chom\/runner")? ssh-ed25519 [A-Za-z0-9+\/=]+ [A-Za-z0-9:-]+$/ { n++ }
  $0 == "# BEGIN chom managed keys" { inside = 1 }
  END { print n + 0 }' "$before")
# A key counts when its line is no comment and holds exactly its blob as a word; a carriage return ends a line, too.
# shellcheck disable=SC2016 # an awk program
usable='{ line = $0; sub(/\r$/, "", line); if (line ~ /^[ \t]*(#|$)/) next
  mine = 0; n = split(line, words, /[ \t]+/); for (i = 1; i <= n; i++) if (words[i] == blob) mine = 1 }'
if [ "$(awk -v blob="$KEY_BLOB" "$usable"' mine { found = 1 } END { print found + 0 }' "$before")" = 1 ]; then
  changed=no
else
  changed=yes
  # The line goes before the end of our block; without a whole block a new one is made at the end.
  awk -v line="$options ssh-ed25519 $KEY_BLOB $KEY_COMMENT" '
    { text = $0; sub(/\r$/, "", text) }
    text == "# BEGIN chom managed keys" { inside = 1 }
    text == "# END chom managed keys" && inside && !done { print line; done = 1; inside = 0 }
    { print }
    END {
      if (done) exit
      print "# BEGIN chom managed keys"
      print line
      print "# END chom managed keys"
    }' "$before" | write_file "$file" 0600 "$uid:$gid"
fi
chmod -- 0700 "$folder"
[ "$(awk -v blob="$KEY_BLOB" "$usable"' mine { found = 1 } END { print found + 0 }' "$file")" = 1 ] ||
  fail permission-denied "$file does not hold the key after writing"
out changed "$changed"
out drift "$drift"
out others "$(awk -v blob="$KEY_BLOB" "$usable"' !mine { n++ } END { print n + 0 }' "$file")"
