# shellcheck shell=sh disable=SC2034,SC2154
# Process sessions, found and ended through /proc: part of the launcher and of every program.
# Needs no procps and no systemd. Never sources user text.

# The boot this machine is in; a pid of another boot means nothing.
chom_boot() {
  read -r chom_boot_id </proc/sys/kernel/random/boot_id
}

# chom_stat PID: sets chom_parent, chom_session and chom_started of a process; fails when it is gone or a zombie.
chom_stat() {
  { read -r chom_line <"/proc/$1/stat"; } 2>/dev/null || return 1
  # The name in parentheses may hold anything, so fields are counted from its end.
  chom_line=${chom_line##*) }
  # shellcheck disable=SC2086 # numbers only
  set -- $chom_line
  [ $# -ge 20 ] || return 1
  case $1 in Z | X) return 1 ;; esac
  chom_parent=$2
  chom_session=$4
  shift 19
  chom_started=$1
}

# chom_members SESSION [EXCEPT…]: sets chom_found to the living pids of a session.
chom_members() {
  chom_wanted=$1
  shift
  chom_found=
  for chom_at in /proc/[0-9]*; do
    chom_pid=${chom_at#/proc/}
    chom_stat "$chom_pid" || continue
    [ "$chom_session" = "$chom_wanted" ] || continue
    case " $* " in *" $chom_pid "*) continue ;; esac
    chom_found="$chom_found $chom_pid"
  done
  [ -n "$chom_found" ]
}

# chom_end SESSION [EXCEPT…]: asks the session's processes to end, kills them after 5 s, fails when one is left.
chom_end() {
  chom_round=0
  while chom_members "$@"; do
    if [ "$chom_round" -lt 25 ]; then chom_signal=TERM; else chom_signal=KILL; fi
    # A stopped process handles TERM only once it runs again.
    case $chom_round in
      0 | 25)
        # shellcheck disable=SC2086 # numbers only
        kill -s "$chom_signal" $chom_found 2>/dev/null
        # shellcheck disable=SC2086 # numbers only
        kill -s CONT $chom_found 2>/dev/null
        ;;
    esac
    # shellcheck disable=SC2086 # forks may have been missed by the first look
    [ "$chom_round" -le 25 ] || kill -s KILL $chom_found 2>/dev/null
    [ "$chom_round" -lt 75 ] || return 1
    chom_round=$((chom_round + 1))
    sleep 0.2 2>/dev/null || sleep 1
  done
}

# chom_save PATH: stores stdin under a name all at once and lasting, mode 0600.
chom_save() {
  dd of="$1.new" conv=fsync 2>/dev/null && mv -f -- "$1.new" "$1"
}
