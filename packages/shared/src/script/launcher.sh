# shellcheck shell=sh disable=SC2034,SC2154
# Starts, finds again or ends one run of a script on this server, under the fence of its lease keys. Bears repeating.
#   in    variables set before it: chom_mode (run, flow, stop, uploaded) chom_tenant chom_keys chom_epoch chom_sequence chom_job
#         chom_step chom_timeout chom_upload chom_peer; then, on stdin or in chom_program, the program as one line of base64
#   out   on stderr: chom=1 at once, then key=value lines, then end=1; in mode `flow` the script has stdin and stdout
#   exit  always 0; what happened is in state=
chom_base=/var/lib/chom

chom_say() { printf '%s\n' "$1" >&4; }

# chom_leave STATE [TEXT]: the last words.
chom_leave() {
  [ $# -lt 2 ] || chom_say "text=$(printf %s "$2" | head -c 4096 | base64 | tr -d '\n')"
  chom_say "state=$1"
  chom_say end=1
  exit 0
}

chom_folder() {
  if [ -L "$1" ]; then chom_leave failed "$1 is a symbolic link"; fi
  # shellcheck disable=SC2174 # everything above is made before
  chom_text=$(mkdir -p -m 0700 -- "$1" 2>&1) || chom_leave failed "$chom_text"
}

# chom_lock KEY: held until this process ends; at most 60 s of waiting, for the holder may be ending a run.
chom_lock() {
  chom_lock_at=$chom_base/fence/$1.lock
  if command -v flock >/dev/null 2>&1; then
    chom_descriptors=$((chom_descriptors + 1))
    eval "exec $chom_descriptors>>\"\$chom_lock_at\"" || chom_leave failed "cannot open $chom_lock_at"
    chom_waited=0
    until flock -n "$chom_descriptors"; do
      [ "$chom_waited" -lt 300 ] || chom_leave lock-busy
      chom_waited=$((chom_waited + 1))
      sleep 0.2 2>/dev/null || sleep 1
    done
  else
    chom_lock_folder "$chom_lock_at.d"
  fi
}

# Without flock: a folder, whose owner is known to be dead by its pid, start time and boot.
chom_lock_folder() {
  chom_stat $$
  chom_mine="$chom_boot_id $$ $chom_started"
  chom_waited=0
  until mkdir -- "$1" 2>/dev/null; do
    if { read -r chom_owner <"$1/owner"; } 2>/dev/null; then
      chom_alive "$chom_owner" || { mv -- "$1" "$1.$$" 2>/dev/null && rm -rf -- "$1.$$"; }
    elif [ "$chom_waited" -gt 25 ]; then
      rmdir -- "$1" 2>/dev/null
    fi
    [ "$chom_waited" -lt 300 ] || chom_leave lock-busy
    chom_waited=$((chom_waited + 1))
    sleep 0.2 2>/dev/null || sleep 1
  done
  printf '%s\n' "$chom_mine" >"$1/owner"
  chom_locked="$chom_locked $1"
}

chom_unlock() {
  # shellcheck disable=SC2086 # paths of ours without blanks
  [ -z "$chom_locked" ] || rm -rf -- $chom_locked
  chom_locked=
  while [ "$chom_descriptors" -gt 5 ]; do
    eval "exec $chom_descriptors>&-"
    chom_descriptors=$((chom_descriptors - 1))
  done
}

# chom_alive "BOOT PID STARTED": whether that very process lives.
chom_alive() {
  # shellcheck disable=SC2086 # three words
  set -- $1
  [ "$1" = "$chom_boot_id" ] && chom_stat "$2" && [ "$chom_started" = "$3" ]
}

# chom_running FOLDER: whether a run's session still has processes; sets chom_leader, and
# chom_attachable: whether its first process, which writes the result, lives too.
chom_running() {
  chom_folder_of_run=$1
  { read -r chom_id <"$1/session"; } 2>/dev/null || return 1
  # shellcheck disable=SC2086 # three words
  set -- $chom_id
  [ "$1" = "$chom_boot_id" ] || return 1
  chom_leader=$2
  # Another process with that pid: the session is over, for a session's number is not given out again while it lives.
  chom_attachable=no
  if chom_stat "$2"; then
    [ "$chom_started" = "$3" ] || return 1
    chom_attachable=yes
  fi
  [ ! -f "$chom_folder_of_run/result" ] || return 1
  chom_members "$chom_leader"
}

# Refuses a lower fence, remembers a higher one.
chom_check_fence() {
  for chom_key in $chom_keys; do
    chom_fence_file=$chom_base/fence/$chom_tenant.$chom_key
    [ -f "$chom_fence_file" ] || continue
    read -r chom_seen_epoch chom_seen_sequence chom_rest <"$chom_fence_file"
    case "$chom_seen_epoch$chom_seen_sequence" in
      '' | *[!0-9]*) chom_leave failed "the fence in $chom_fence_file cannot be read" ;;
    esac
    [ "$chom_seen_epoch" -le "$chom_epoch" ] || chom_leave fenced
    [ "$chom_seen_epoch" -lt "$chom_epoch" ] || [ "$chom_seen_sequence" -le "$chom_sequence" ] || chom_leave fenced
  done
  for chom_key in $chom_keys; do
    printf '%s %s %s\n' "$chom_epoch" "$chom_sequence" "$chom_job" |
      chom_save "$chom_base/fence/$chom_tenant.$chom_key" ||
      chom_leave failed "cannot write the fence below $chom_base (No space left on device?)"
  done
}

# Ends whatever runs under one of the keys, save the run that is asked for.
chom_end_others() {
  for chom_key in $chom_keys; do
    chom_current=$chom_base/fence/$chom_tenant.$chom_key.current
    { read -r chom_other <"$chom_current"; } 2>/dev/null || continue
    [ "$chom_other" != "${1:-}" ] || continue
    if chom_running "$chom_other"; then
      chom_end "$chom_leader" || chom_leave still-running
    fi
  done
}

chom_report() {
  if [ "$(wc -c <"$chom_run/out")" -gt 1048576 ]; then
    chom_say too_large=yes
  else
    chom_say "out=$(base64 <"$chom_run/out" | tr -d '\n')"
  fi
  chom_log_size=$(wc -c <"$chom_run/log")
  if [ "$chom_log_size" -gt 65536 ]; then
    chom_say "log_size=$((chom_log_size))"
    ! command -v sha256sum >/dev/null 2>&1 || chom_say "log_digest=$(sha256sum <"$chom_run/log" | head -c 64)"
  fi
  chom_say "log=$(tail -c 65536 "$chom_run/log" 2>/dev/null | base64 | tr -d '\n')"
  [ ! -f "$chom_run/result" ] ||
    while IFS= read -r chom_line; do chom_say "$chom_line"; done <"$chom_run/result"
  chom_leave finished
}

# Waits for a run that another connection began.
chom_wait() {
  chom_say found=running
  while chom_running "$chom_run" && [ "$chom_attachable" = yes ]; do
    sleep 0.2 2>/dev/null || sleep 1
  done
  [ -f "$chom_run/result" ] || chom_leave died
  chom_report
}

chom_begin() {
  rm -rf -- "$chom_run"
  chom_folder "$chom_run"
  chom_text=$(printf %s "$chom_program" | base64 -d 2>&1 >"$chom_run/program") || chom_leave failed "$chom_text"
  chom_program=
  printf '%s %s\n' "$chom_epoch" "$chom_sequence" >"$chom_run/fence"
  if ! { : >"$chom_run/log" && : >"$chom_run/out"; }; then
    chom_leave failed "cannot write below $chom_run (No space left on device?)"
  fi
  for chom_key in $chom_keys; do
    printf '%s\n' "$chom_run" | chom_save "$chom_base/fence/$chom_tenant.$chom_key.current"
  done
  if [ "$chom_mode" = flow ]; then chom_flow; else chom_detach; fi
  # No result although it ended by itself: the disk is full, so the exit status is all there is.
  if [ ! -f "$chom_run/result" ]; then
    [ "$chom_child_status" -le 128 ] || chom_leave died
    chom_say "status=$chom_child_status"
  fi
  chom_report
}

# Outside of this session and of everything that the connection could take with it.
chom_detach() {
  chom_start >>"$chom_run/log" </dev/null &
  chom_child=$!
  chom_started_up
  wait "$chom_child"
  chom_child_status=$?
}

# Becomes the run: a session of its own, none of the launcher's descriptors.
chom_start() {
  exec 2>>"$chom_run/log" 3>"$chom_run/out" 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  exec setsid sh "$chom_run/program" "$chom_run" "$chom_timeout" "$@"
}

# Stdin and stdout belong to the script; end of input is passed on only when the caller says it was the end.
chom_flow() {
  chom_stat "$chom_peer" || chom_leave failed "the connection is gone"
  if [ "$chom_upload" = yes ]; then
    mkfifo -m 0600 -- "$chom_run/upload" || chom_leave failed "cannot make a pipe in $chom_run"
    # Both ends at once, so that neither side's opening waits for the other's, whoever dies in between.
    exec 3<>"$chom_run/upload"
    chom_relay_upload &
    chom_relay=$!
    chom_start "$chom_peer" "$chom_started" <"$chom_run/upload" &
  else
    chom_start "$chom_peer" "$chom_started" </dev/null &
  fi
  chom_child=$!
  exec >/dev/null 5<&-
  chom_started_up
  exec 3>&-
  wait "$chom_child"
  chom_child_status=$?
  [ -z "${chom_relay:-}" ] || kill "$chom_relay" 2>/dev/null
}

# Passes the bytes on. That they ended here does not mean that they were all: the run itself holds its pipe open.
chom_relay_upload() {
  exec <&5 >"$chom_run/upload" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  cat && : >"$chom_run/relayed"
}

# The keys' locks may go once the run says which session it is.
chom_started_up() {
  chom_waited=0
  until [ -s "$chom_run/session" ]; do
    kill -0 "$chom_child" 2>/dev/null || break
    [ "$chom_waited" -lt 500 ] || break
    chom_waited=$((chom_waited + 1))
    sleep 0.01 2>/dev/null || sleep 1
  done
  chom_unlock
  chom_say started=yes
}

chom_run_or_find() {
  if [ "$chom_mode" = run ] && [ -d "$chom_run" ]; then
    if chom_running "$chom_run" && [ "$chom_attachable" = yes ]; then
      chom_unlock
      chom_wait
    fi
    if [ -f "$chom_run/result" ]; then
      read -r chom_status <"$chom_run/result"
      read -r chom_run_epoch chom_run_sequence <"$chom_run/fence"
      # A failure belongs to its attempt: the next attempt tries again.
      if [ "$chom_status" = status=0 ] || [ "$chom_run_epoch $chom_run_sequence" = "$chom_epoch $chom_sequence" ]; then
        chom_say found=finished
        chom_unlock
        chom_report
      fi
    fi
  fi
  if chom_running "$chom_run"; then chom_end "$chom_leader" || chom_leave still-running; fi
  chom_begin
}

chom_main() {
  umask 077
  chom_descriptors=5
  chom_locked=
  exec 4>&2 2>/dev/null
  chom_say chom=1
  # A runner (runner.sh) has read it already, to know it.
  [ "${chom_runner:-no}" = yes ] || IFS= read -r chom_program
  exec 5<&0 </dev/null
  for chom_tool in base64 setsid dd head tail tr; do
    command -v "$chom_tool" >/dev/null 2>&1 || chom_leave tool-missing "$chom_tool is not installed"
  done
  chom_boot
  chom_folder "$chom_base"
  chom_folder "$chom_base/fence"
  chom_folder "$chom_base/runs"
  chom_first=${chom_keys%% *}
  chom_folder "$chom_base/runs/$chom_tenant.$chom_first"
  chom_run=$chom_base/runs/$chom_tenant.$chom_first/$chom_job.$chom_step
  if [ "$chom_mode" = uploaded ]; then
    # In a process of its own: a shell dies of a redirection that fails in one of its special commands.
    (: >"$chom_run/upload-complete") || chom_leave failed "there is no such run"
    chom_leave finished
  fi
  for chom_key in $chom_keys; do chom_lock "$chom_tenant.$chom_key"; done
  chom_check_fence
  if [ "$chom_mode" = stop ]; then
    chom_end_others
    chom_leave finished
  fi
  find "$chom_base/runs" -mindepth 2 -maxdepth 2 -type d -mtime +7 -exec rm -rf -- {} + 2>/dev/null
  chom_end_others "$chom_run"
  chom_run_or_find
}

chom_main
