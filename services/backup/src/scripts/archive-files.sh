# Sends a site's files as a tar on stdout, read with the site's own rights. Changes nothing.
# Links are stored as links; sockets, pipes and devices are left out, as are tmp, sessions and logs.
#   in    site_user root_path
#   out   changed=<yes|no> (something changed while it was read)  tar_version
#   error invalid-config  permission-denied (something the site's user may not read)  tool-missing
need tar find stat

case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
if [ ! -d "$root_path" ] || [ -L "$root_path" ]; then fail invalid-config "there is no folder $root_path"; fi
[ "$(stat -c %U -- "$root_path")" = "$site_user" ] || fail invalid-config "$root_path belongs to another user"

# Root's folder: the site's user gets descriptors of the files in it, never their names, which it could put links in place of.
notes=$(mktemp -d)
trap 'rm -rf -- "$notes"' EXIT

# The list is made by find, so that tar sees only kinds of files that a restore accepts. What find could not read must
# not pass in silence, and a pipe keeps only the last command's result: it leaves a note.
result=0
# shellcheck disable=SC2016 # for the inner shell
as_user "$site_user" nice -n 19 sh -c '
  cd -- "$1" || exit 3
  {
    find . -xdev \( -path ./tmp -o -path ./sessions -o -path ./logs \) -prune -o \
      \( -type f -o -type d -o -type l \) -print0 2>&8 || echo unread >&7
  } | tar --create --file=- --format=posix --null --verbatim-files-from --no-recursion --files-from=- 2>&9
' sh "$root_path" 7>"$notes/unread" 8>"$notes/find" 9>"$notes/tar" || result=$?

head -c 4096 -- "$notes/find" >&2 || :
head -c 4096 -- "$notes/tar" >&2 || :
if [ -s "$notes/unread" ] && grep -v -e 'No such file or directory' -- "$notes/find" >/dev/null; then
  fail permission-denied "a folder of the site cannot be read by its own user"
fi
case $result in
  0) changed=no ;;
  1) changed=yes ;;
  *)
    # A file that vanished between find and tar is a change, not a failure; anything else is.
    if grep -v -e 'No such file or directory' -e 'File removed' -e 'file changed' -e 'Exiting with failure' \
      -e 'socket ignored' -- "$notes/tar" >/dev/null; then
      grep -q 'Permission denied' -- "$notes/tar" && fail permission-denied "a file of the site cannot be read by its own user"
      fail unexpected "tar ended with $result"
    fi
    changed=yes
    ;;
esac
out changed "$changed"
out tar_version "$(tar --version | head -n 1)"
