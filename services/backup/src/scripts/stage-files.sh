# Unpacks a tar from stdin into the place that prepare-staging made, with the site's own rights only. Begins anew each time.
#   in    site_user root_path
#   out   entries  links_left_out (symbolic links that lead out of the site)
#   error invalid-config  disk-full  archive-unsafe
need tar find realpath setpriv

case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
stage=$root_path.restore
if [ ! -d "$stage" ] || [ -L "$stage" ]; then fail invalid-config "there is no place to unpack to"; fi
# A site's files belong to its user and to the web server's group, which lets nginx read them.
as_site() {
  setpriv --reuid="$site_user" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- "$@" 3>&-
}

# With the site's rights too: whoever runs as the site may change what is there at any moment.
as_site chmod -R u+rwx -- "$stage" 2>/dev/null || :
as_site find "$stage" -mindepth 1 -xdev -delete ||
  fail archive-unsafe "the place to unpack to cannot be emptied: something changes it"

as_site nice -n 19 tar --directory="$stage" --extract --file=- --preserve-permissions --no-same-owner \
  --delay-directory-restore --no-overwrite-dir >&2 || {
  disk_check "$stage" 1048576
  fail archive-unsafe "tar could not unpack the archive"
}
out entries "$(as_site find "$stage" -printf x | wc -c)"

# Nothing of a site runs with other rights than its own.
as_site find "$stage" -type f -perm /6000 -exec chmod ug-s -- {} +
# shellcheck disable=SC2016 # for the inner shell
left_out=$(as_site find "$stage" -type l -exec sh -c '
  stage=$1 root=$2
  shift 2
  for link in "$@"; do
    target=$(readlink -- "$link"; printf x)
    target=${target%?x}
    case $target in
      /*) place=$(realpath -m -s -- "$target"; printf x) home=$root ;;
      *) place=$(realpath -m -s -- "${link%/*}/$target"; printf x) home=$stage ;;
    esac
    place=${place%?x}
    case $place in
      "$home" | "$home"/*) ;;
      *) rm -f -- "$link" && printf x ;;
    esac
  done
' sh "$stage" "$root_path" {} + | wc -c)
out links_left_out "$left_out"
