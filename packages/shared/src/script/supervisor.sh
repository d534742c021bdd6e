# shellcheck shell=sh disable=SC2034,SC2154
# The first process of a run: says which session it is, ends it when its time is over or, attached, when the
# connection is gone, and stores how it ended.

# chom_supervise RUN TIMEOUT_SECONDS [PEER PEER_STARTED]
chom_supervise() {
  chom_run=$1
  chom_timeout=$2
  chom_watched=${3:-}
  chom_watched_started=${4:-}
  chom_holder=
  if [ -p "$chom_run/upload" ]; then
    { chom_hold_upload & } 9>"$chom_run/upload"
    chom_holder=$!
  fi
  chom_boot
  chom_stat $$
  printf '%s\n' "$chom_boot_id $$ $chom_started" >"$chom_run/session.new"
  mv -- "$chom_run/session.new" "$chom_run/session"
  chom_watch &
  chom_watchdog=$!
}

# Keeps the script's input open until all bytes came and the caller said that they were all, as long as the first
# process lives: a cut connection, or a launcher that died, must not look like the end of the bytes. It ignores TERM,
# because whatever ends the run must end the script before its input.
chom_hold_upload() {
  trap '' TERM
  exec </dev/null >/dev/null 2>&1 3>&-
  until [ -f "$chom_run/relayed" ] && [ -f "$chom_run/upload-complete" ]; do
    kill -0 $$ || return 0
    sleep 0.05 || sleep 1
  done
}

# Runs in a process of its own until the time is over; ends everything in the session but itself and the first process.
chom_watch() {
  # Not where it is called: some shells keep copies of redirected descriptors, and a copy keeps the channel open.
  exec </dev/null >/dev/null 2>&1 3>&-
  read -r chom_self chom_rest </proc/self/stat
  chom_sleep=
  trap 'kill "$chom_sleep" 2>/dev/null; exit 0' TERM
  chom_why=timed-out
  if [ -z "$chom_watched" ]; then
    sleep "$chom_timeout" &
    chom_sleep=$!
    wait "$chom_sleep"
  else
    while [ "$chom_timeout" -gt 0 ]; do
      sleep 1 &
      chom_sleep=$!
      wait "$chom_sleep"
      chom_timeout=$((chom_timeout - 1))
      chom_stat "$chom_watched" && [ "$chom_started" = "$chom_watched_started" ] && continue
      chom_why="cut"
      break
    done
  fi
  trap '' TERM
  : >"$chom_run/$chom_why"
  chom_end $$ $$ "$chom_self" "$chom_holder"
}

# chom_finish STATUS: stores the result; the last thing that a run does.
chom_finish() {
  chom_timed_out=no
  if [ -f "$chom_run/timed-out" ] || [ -f "$chom_run/cut" ]; then
    [ ! -f "$chom_run/timed-out" ] || chom_timed_out=yes
    wait "$chom_watchdog" || chom_timed_out=still-running
  else
    kill "$chom_watchdog" 2>/dev/null
  fi
  sync -- "$chom_run/out" 2>/dev/null
  printf 'status=%s\ntimed_out=%s\n' "$1" "$chom_timed_out" | chom_save "$chom_run/result"
  exit "$1"
}
