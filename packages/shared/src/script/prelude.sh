# shellcheck shell=sh disable=SC2034,SC2154
# What every script may use. Names that begin with chom_ belong to the transport.

# out KEY VALUE: one result, on one line of plain text.
out() {
  case $2 in
    *"
"* | *"$(printf '\r')"*) fail protocol-error "the value of $1 holds a line break" ;;
  esac
  printf '%s=%s\n' "$1" "$2" >&3
}

# out64 KEY VALUE: one result that may hold anything.
out64() {
  printf '%s=%s\n' "$1" "$(printf %s "$2" | base64 | tr -d '\n')" >&3
}

# fail CODE [MESSAGE…]: ends the script; the code decides what happens next, the message is for people.
fail() {
  printf 'error=%s\n' "$1" >&3
  chom_code=$1
  shift
  [ $# -eq 0 ] || printf '%s\n' "$*" >&2
  case " $chom_temporary " in *" $chom_code "*) exit 75 ;; esac
  exit 70
}

# need CMD…: fails unless every command is installed.
need() {
  for chom_tool in "$@"; do
    command -v "$chom_tool" >/dev/null 2>&1 || fail tool-missing "$chom_tool is not installed"
  done
}

# service_do reload|restart|start|stop|status NAME: through systemd where it runs, else through the init script.
# A service gets a session of its own, so that it outlives this one.
service_do() {
  if [ -d /run/systemd/system ]; then
    systemctl "$1" -- "$2" </dev/null >&2
  elif command -v service >/dev/null 2>&1; then
    chom_outside service "$2" "$1"
  elif [ -x "/etc/init.d/$2" ]; then
    chom_outside "/etc/init.d/$2" "$1"
  else
    fail tool-missing "there is no way to $1 the service $2"
  fi
}

# A daemon would keep our descriptors open: it gets a file for its chatter instead.
chom_outside() {
  chom_chatter=$(mktemp) || fail disk-full "no room for a temporary file"
  chom_result=0
  setsid "$@" </dev/null >"$chom_chatter" 2>&1 3>&- || chom_result=$?
  head -c 8192 "$chom_chatter" >&2
  rm -f -- "$chom_chatter"
  return "$chom_result"
}

# write_file PATH MODE OWNER: stores stdin under PATH at once and lasting; a link there is replaced, not followed.
write_file() {
  [ ! -d "$1" ] || fail invalid-config "$1 is a folder"
  chom_temporary_file=$(mktemp "$(dirname -- "$1")/.chom.XXXXXX") || fail disk-full "cannot write beside $1"
  if dd of="$chom_temporary_file" bs=65536 conv=fsync 2>/dev/null &&
    chown -- "$3" "$chom_temporary_file" && chmod -- "$2" "$chom_temporary_file" &&
    mv -f -- "$chom_temporary_file" "$1"; then
    return 0
  fi
  rm -f -- "$chom_temporary_file"
  disk_check "$(dirname -- "$1")" 65536
  fail permission-denied "cannot write $1"
}

# as_user USER CMD…: runs a command with that user's rights only.
as_user() {
  chom_user=$1
  shift
  chom_home=/
  while IFS=: read -r chom_name chom_x chom_uid chom_gid chom_x chom_at chom_x; do
    [ "$chom_name" = "$chom_user" ] || continue
    chom_home=$chom_at
    break
  done </etc/passwd
  [ "$chom_name" = "$chom_user" ] || fail invalid-config "there is no user $chom_user"
  # A small setpriv knows no --reuid, so it is tried, not looked for.
  if setpriv --reuid="$chom_uid" --regid="$chom_gid" --init-groups true >/dev/null 2>&1; then
    env HOME="$chom_home" USER="$chom_user" LOGNAME="$chom_user" \
      setpriv --reuid="$chom_uid" --regid="$chom_gid" --init-groups --inh-caps=-all -- "$@" 3>&-
  elif command -v runuser >/dev/null 2>&1; then
    env HOME="$chom_home" USER="$chom_user" LOGNAME="$chom_user" runuser -u "$chom_user" -- "$@" 3>&-
  else
    # shellcheck disable=SC2016 # for the other shell
    su -s /bin/sh "$chom_user" -c 'exec "$0" "$@"' -- "$@" 3>&-
  fi
}

# disk_check PATH BYTES: fails when the file system of PATH has fewer bytes or hardly any inodes free.
disk_check() {
  chom_free=$(df -Pk -- "$1" | awk 'NR == 2 { print $4 }')
  [ "$chom_free" -ge $((($2 + 1023) / 1024)) ] ||
    fail disk-full "$1 has $chom_free KiB free, $((($2 + 1023) / 1024)) are needed"
  chom_free=$(df -Pi -- "$1" 2>/dev/null | awk 'NR == 2 && $2 > 0 { print $4 }')
  [ -z "$chom_free" ] || [ "$chom_free" -ge 64 ] || fail inodes-full "$1 has $chom_free inodes free"
}

# The living workers of an nginx master, by their parent.
chom_workers() {
  for chom_at in /proc/[0-9]*; do
    chom_stat "${chom_at#/proc/}" || continue
    [ "$chom_parent" != "$1" ] || printf '%s ' "${chom_at#/proc/}"
  done
}

# nginx_apply: makes the configuration on disk the running one, or fails and leaves the running one as it was.
nginx_apply() {
  need nginx
  nginx -t </dev/null >&2 2>&2 || fail nginx-test-failed "nginx refuses the configuration"
  chom_master=
  [ ! -s /run/nginx.pid ] || read -r chom_master </run/nginx.pid || :
  if [ -z "$chom_master" ] || ! chom_stat "$chom_master"; then
    service_do start nginx || fail service-down "nginx does not start"
    return 0
  fi
  chom_before=$(chom_workers "$chom_master")
  service_do reload nginx || fail service-down "nginx does not reload"
  chom_waited=0
  while [ "$chom_waited" -lt 50 ]; do
    for chom_worker in $(chom_workers "$chom_master"); do
      case " $chom_before " in *" $chom_worker "*) ;; *) return 0 ;; esac
    done
    chom_waited=$((chom_waited + 1))
    sleep 0.2 2>/dev/null || sleep 1
  done
  fail service-down "nginx did not start new workers within 10 s"
}
