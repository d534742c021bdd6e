# Puts the runner and what it needs to know where only root may write. Bears repeating. Never through the runner itself.
#   in    RUNNER (its text)  RUNNER_LIST (lines of `kind sha256`)  KEY_FROM (networks, comma-separated, or empty)
#   out   nothing
#   exit  0 done   otherwise error=permission-denied (a link, not writable), tool-missing, disk-full
# shellcheck shell=sh disable=SC2154
need sha256sum base64 awk grep env
folder=/usr/local/lib/chom
[ ! -L "$folder" ] || fail permission-denied "$folder is a symbolic link"
# shellcheck disable=SC2174 # what is above it has its own modes
mkdir -p -m 0755 -- "$folder" || fail permission-denied "cannot make $folder"
chown -- root:root "$folder"
chmod -- 0755 "$folder"
printf %s "$RUNNER_LIST" | write_file "$folder/scripts.sha256" 0644 root:root
printf '%s\n' "$KEY_FROM" | write_file "$folder/from" 0644 root:root
printf %s "$RUNNER" | write_file "$folder/runner" 0755 root:root
