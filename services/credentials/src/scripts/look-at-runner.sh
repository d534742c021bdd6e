# Says whether this very run came through the runner.
#   in    nothing
#   out   active=yes|no
#   exit  0 done
# shellcheck shell=sh
out active "${chom_runner:-no}"
