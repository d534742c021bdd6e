#!/bin/sh
# shellcheck shell=sh
# The only thing that a key of CHOM may start on this server, as the forced command of its line in authorized_keys:
# becomes root and runs a script of CHOM when its text is one of the list beside this file; refuses all else.
#   in    SSH_ORIGINAL_COMMAND; on stdin what the transport sends: one line of base64 with settings and launcher, one
#         with the program, then whatever is for the script
#   exit  126 when it refuses, with the reason on stderr
# Settings and values are data of fixed grammars; without them, launcher and program must have a listed SHA-256.
set -u
base=/usr/local/lib/chom

refuse() {
  printf '%s\n' "chom-runner: $1" >&2
  exit 126
}

# listed KIND: whether what comes on stdin is known.
listed() {
  digest=$(sha256sum) || return 1
  grep -qx -- "$1 ${digest%% *}" "$base/scripts.sha256"
}

# canonical LINE TEXT: whether the line is exactly this text; a NUL or a stray byte would be seen by one reader only.
canonical() {
  [ "$(printf %s "$2" | base64 | tr -d '\n')" = "$1" ]
}

# shellcheck disable=SC2016 # awk programs
settings='
  NR == 1 { ok = /^chom_mode=(run|flow|stop|uploaded)$/ }
  NR == 2 { ok = ok && /^chom_tenant=[a-z0-9][a-z0-9.-]*$/ }
  NR == 3 { ok = ok && /^chom_job=[a-z0-9][a-z0-9.-]*$/ }
  NR == 4 { ok = ok && /^chom_step=[a-z0-9][a-z0-9.-]*$/ }
  NR == 5 { ok = ok && /^chom_keys=\047[a-z0-9][a-z0-9. -]*\047$/ }
  NR == 6 { ok = ok && /^chom_epoch=[0-9]+$/ }
  NR == 7 { ok = ok && /^chom_sequence=[0-9]+$/ }
  NR == 8 { ok = ok && /^chom_timeout=[0-9]+$/ }
  NR == 9 { ok = ok && /^chom_upload=(yes|no)$/ }
  NR <= 9 { if (index($0, "..")) ok = 0; next }
  { print }
  END { if (!ok || NR < 9) print "odd settings" }'
# shellcheck disable=SC2016 # awk programs
values='
  BEGIN { marker = "printf \047v=1\\n\047 >&3" }
  !seen && /^chom_temporary=\047[a-z0-9 -]*\047$/ { next }
  inside && want != "" { if ($0 != want "=${" want "%.}") print "odd value"; want = ""; next }
  inside && /^[A-Za-z][A-Za-z0-9_]*=[$][(]printf %s \047[A-Za-z0-9+\/=]*\047 [|] base64 -d && printf [.][)]$/ {
    want = substr($0, 1, index($0, "=") - 1)
    name = toupper(want)
    if (name ~ /^(PATH|IFS|ENV|HOME|SHELL|USER|LOGNAME|PWD|OLDPWD|CDPATH|PPID|UID|EUID|GROUPS|LINENO|RANDOM|SECONDS)$/ ||
      name ~ /^(PS[0-9]|OPT(IND|ARG|ERR)|REPLY|TMPDIR|TZ|LANG|LC_.*|LD_.*|BASH.*|POSIXLY_CORRECT|SHELLOPTS|CHOM_.*)$/)
      print "reserved name"
    next
  }
  { inside = 0; print }
  !seen && $0 == marker { seen = inside = 1 }
  END { if (want != "") print "odd value" }'

case ${1-} in
  '')
    printf %s "${SSH_ORIGINAL_COMMAND-}" | listed command || refuse "with this key only scripts of CHOM are run"
    [ "$(id -u)" != 0 ] || exec "$0" root "$PPID" "${SSH_USER_AUTH-}"
    exec sudo -n -- "$0" root "$PPID" "${SSH_USER_AUTH-}"
    ;;
  root)
    case ${2-} in '' | *[!0-9]*) refuse "odd arguments" ;; esac
    case ${3-} in *[!A-Za-z0-9/._-]*) refuse "odd arguments" ;; esac
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root chom_runner=yes \
      chom_peer="$2" chom_auth="${3-}" /bin/sh "$0" run
    ;;
  run) [ "${chom_runner-}" = yes ] || refuse "odd arguments" ;;
  *) refuse "odd arguments" ;;
esac

umask 077
IFS= read -r line || refuse "nothing came"
start=$(printf %s "$line" | base64 -d 2>/dev/null && printf .)
start=${start%.}
canonical "$line" "$start" || refuse "the launcher is no clean text"
printf %s "$start" | awk "$settings" | listed launcher ||
  refuse "the launcher is not of the release whose list this server has: install the runner of this release"
IFS= read -r chom_program || refuse "no program came"
if [ -n "$chom_program" ]; then
  text=$(printf %s "$chom_program" | base64 -d 2>/dev/null && printf .)
  text=${text%.}
  canonical "$chom_program" "$text" || refuse "the program is no clean text"
  printf %s "$text" | awk "$values" | listed program ||
    refuse "this script is not in this server's list: install the runner of this release"
  text=
fi
eval "$start"
