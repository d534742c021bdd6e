# Measures what a backup or a restore of one site will need. Changes nothing.
#   in    site_user root_path database_name (empty: none)
#   out   files_bytes database_bytes free_bytes database_free_bytes engine
#   error invalid-config  db-auth  db-missing  db-gone-away  tool-missing
need du df awk stat

case $site_user in '' | *[!a-z0-9-]*) fail invalid-config "the site's user has an impossible name" ;; esac
[ "$root_path" = "/srv/sites/$site_user" ] || fail invalid-config "the site's folder is not where sites are"
if [ ! -d "$root_path" ] || [ -L "$root_path" ]; then fail invalid-config "there is no folder $root_path"; fi
[ "$(stat -c %U -- "$root_path")" = "$site_user" ] || fail invalid-config "$root_path belongs to another user"

# Files that vanish while du looks make it complain; its sum is good enough for an estimate.
files_bytes=$(as_user "$site_user" du -sb --exclude=./tmp --exclude=./sessions --exclude=./logs -- "$root_path" 2>/dev/null |
  awk '{ print $1 }') || :
out files_bytes "${files_bytes:-0}"
out free_bytes "$(df -Pk -- "$root_path" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')"

if [ -z "$database_name" ]; then
  out database_bytes 0
  out database_free_bytes 0
  out engine none
  exit 0
fi
case $database_name in *[!a-z0-9_]*) fail invalid-config "the database has an impossible name" ;; esac
client=$(command -v mariadb || command -v mysql) || fail tool-missing "there is no database client"

ask() {
  "$client" --batch --skip-column-names -e "$1" 2>"$chatter" || {
    cat -- "$chatter" >&2
    case $(cat -- "$chatter") in
      *"ERROR 1045"* | *"ERROR 1698"*) fail db-auth ;;
      *) fail db-gone-away ;;
    esac
  }
}
chatter=$(mktemp)
trap 'rm -f -- "$chatter"' EXIT
found=$(ask "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '$database_name'")
[ "$found" = 1 ] || fail db-missing "there is no database $database_name"
out database_bytes "$(ask "SELECT COALESCE(SUM(data_length + index_length), 0)
  FROM information_schema.tables WHERE table_schema = '$database_name'")"
folder=$(ask "SELECT @@datadir")
out database_free_bytes "$(df -Pk -- "$folder" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')"
out engine "$(ask "SELECT VERSION()")"
