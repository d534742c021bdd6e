# Makes the Unix user of a site and its folders. What is there already stays; may run any number of times.
#   in    SYSTEM_USER  ROOT_PATH
#   out   created=yes|no (the user)
#   exit  0 done   75 error=lock-busy, disk-full, inodes-full   70 error=name-taken, invalid-config
case $ROOT_PATH in "/srv/sites/$SYSTEM_USER") ;; *) fail invalid-config "not a site's folder: $ROOT_PATH" ;; esac
need useradd setpriv
disk_check /srv/sites 16777216

created=no
if id -u -- "$SYSTEM_USER" >/dev/null 2>&1; then
  [ "$(awk -F : -v user="$SYSTEM_USER" '$1 == user { print $6 }' /etc/passwd)" = "$ROOT_PATH" ] ||
    fail name-taken "the user $SYSTEM_USER is not this site's"
else
  code=0
  useradd --system --user-group --no-create-home --home-dir "$ROOT_PATH" --shell /usr/sbin/nologin \
    -- "$SYSTEM_USER" >&2 || code=$?
  case $code in
    0) created=yes ;;
    1 | 10) fail lock-busy "another program changes /etc/passwd" ;;
    9) fail name-taken "a group of the name $SYSTEM_USER exists" ;;
    *) fail unexpected "useradd ended with $code" ;;
  esac
fi

[ ! -L "$ROOT_PATH" ] || fail invalid-config "$ROOT_PATH is a symbolic link"
# Only nginx's group may pass; names inside cannot be listed by it.
[ -d "$ROOT_PATH" ] || mkdir -m 0710 -- "$ROOT_PATH"
chown -h -- "$SYSTEM_USER:www-data" "$ROOT_PATH"
chmod 0710 -- "$ROOT_PATH"

# Below its root the site may have laid any trap, so that work is done with its own rights.
# Folders that nginx reads from hand its group on to whatever is put into them.
# shellcheck disable=SC2016 # for the other shell
setpriv --reuid="$SYSTEM_USER" --regid=www-data --clear-groups --inh-caps=-all --no-new-privs -- sh -euc '
  cd -- "$1"
  for folder in public releases shared; do
    mkdir -p -- "$folder"
    chmod 2750 -- "$folder"
  done
  for folder in logs tmp sessions; do
    mkdir -p -- "$folder"
    chmod 0700 -- "$folder"
  done' sh "$ROOT_PATH" 3>&- || fail permission-denied "the folders below $ROOT_PATH cannot be made"

# Where parts of the vhost go that other jobs write.
install -d -m 0755 -- "/etc/nginx/chom/$SYSTEM_USER"
install -d -m 0700 -- "/etc/chom/sites/$SYSTEM_USER"
out created "$created"
