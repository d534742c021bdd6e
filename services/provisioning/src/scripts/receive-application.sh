# Takes an application's archive (tar.gz) on stdin, checks it and unpacks it with the site's rights into a release.
# The release appears at once and whole; may run any number of times.
#   in    SYSTEM_USER  ROOT_PATH  RELEASE  SHA256  SIZE_BYTES  MARKER (a file that the application's root has)
#   out   files_count=<n>
#   exit  0 done   75 error=disk-full, inodes-full   70 error=checksum-mismatch, archive-unsafe, invalid-config
need tar gzip sha256sum setpriv
max_bytes=2147483648
max_entries=200000
disk_check /var/lib/chom "$SIZE_BYTES"
install -d -m 0700 /var/lib/chom/uploads
work=$(mktemp -d /var/lib/chom/uploads/XXXXXX)
trap 'rm -rf -- "$work"' EXIT
as_site() {
  setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- "$@" 3>&-
}

head -c "$((SIZE_BYTES + 1))" >"$work/archive"
set -- "$(sha256sum <"$work/archive")"
[ "${1%% *}" = "$SHA256" ] || fail checksum-mismatch "the archive has another SHA-256 than configured"

# Nothing of the archive is written before all of its names are known to be harmless.
tar -tzf "$work/archive" --quoting-style=escape >"$work/names" || fail archive-unsafe "the archive cannot be read"
if grep -Eq '^/|(^|/)\.\.(/|$)' "$work/names"; then fail archive-unsafe "a name in the archive leads out of it"; fi
[ "$(wc -l <"$work/names")" -le "$max_entries" ] || fail archive-unsafe "more than $max_entries entries"
tar -tvzf "$work/archive" --quoting-style=escape >"$work/types" || fail archive-unsafe "the archive cannot be read"
if cut -c 1 "$work/types" | grep -q '[^-dl]'; then
  fail archive-unsafe "the archive has more than files, folders and symbolic links"
fi
unpacked=$(gzip -dc <"$work/archive" | head -c "$((max_bytes + 1))" | wc -c)
[ "$unpacked" -le "$max_bytes" ] || fail archive-unsafe "unpacked it is larger than $max_bytes bytes"
disk_check "$ROOT_PATH" "$unpacked"

# shellcheck disable=SC2016 # for the other shell
as_site sh -euc '
  cd -- "$1/releases"
  new=./.new-$2
  rm -rf -- "$new" && mkdir -- "$new"
  tar -xzf - -C "$new" --no-same-owner --no-same-permissions --delay-directory-restore
  find "$new" -type d -exec chmod u=rwx,g=rxs,o= {} +
  find "$new" -type f -exec chmod u+rw,g+r,o-rwx,u-s,g-s {} +
  top=$(cd -- "$new" && pwd -P)
  find "$new" -type l -exec sh -c "
    top=\$1; shift
    for link do
      case \$(readlink -f -- \"\$link\") in \"\$top\"/*) ;; *) echo \"\$link leads out\" >&2; exit 1 ;; esac
    done" sh "$top" {} +
  tree=$new
  if [ ! -e "$new/$3" ]; then
    set -- "$1" "$2" "$3" "$new"/*
    [ $# -eq 4 ] && [ -e "$4/$3" ] || exit 3
    tree=$4
  fi
  rm -rf -- "./$2"
  mv -- "$tree" "./$2"
  rm -rf -- "$new"' sh "$ROOT_PATH" "$RELEASE" "$MARKER" <"$work/archive" || {
  code=$?
  as_site rm -rf -- "$ROOT_PATH/releases/.new-$RELEASE"
  [ "$code" -ne 3 ] || fail invalid-config "the archive has no $MARKER: it is not that application"
  disk_check "$ROOT_PATH" 1048576
  fail archive-unsafe "the archive cannot be unpacked safely"
}
out files_count "$(as_site find "$ROOT_PATH/releases/$RELEASE" -type f | wc -l)"
