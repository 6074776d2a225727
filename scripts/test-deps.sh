#!/bin/sh
# Debian's redis-server, for tests against Redis proper. Those tests skip with a reason where it is
# absent; in CI it must be there.
set -eu
sh "$(dirname "$0")/promtool-deps.sh"
command -v redis-server >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "==> installing redis-server"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server; } >/dev/null \
        && exit 0
fi
echo "redis-server is not installed: tests against Redis proper are skipped" >&2
[ "${CI:-}" != true ]
