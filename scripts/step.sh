#!/bin/sh
# One step of a set-up in one line: what it is, that it goes on, and how long it took. What its command
# prints goes to .gateway/setup.log, and its end to the screen where it fails:
#
#   sh scripts/step.sh TEXT COMMAND [ARGUMENTS]
set -eu
text=$1
shift
log=.gateway/setup.log
(umask 077 && mkdir -p .gateway)
printf '\n==> %s\n' "$text" >>"$log"
begun=$(date +%s)
elapsed() { echo $(($(date +%s) - begun)); }
printf '==> %s' "$text"
if [ -t 1 ]; then
    while sleep 1; do printf '\r==> %s ... %s s' "$text" "$(elapsed)"; done &
    ticker=$!
    trap 'kill "$ticker" 2>/dev/null || true' EXIT
fi
status=0
"$@" >>"$log" 2>&1 </dev/null || status=$?
if [ -t 1 ]; then
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    printf '\r\033[K==> %s' "$text"
fi
if [ "$status" = 0 ]; then
    printf ': %s s\n' "$(elapsed)"
else
    printf ': failed\n'
    tail -n 15 "$log" >&2
    echo "all of its output: $log" >&2
fi
exit "$status"
