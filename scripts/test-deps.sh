#!/bin/sh
# What tests need from Debian: redis-server (tests against Redis proper), a JDK (the example in Java),
# Chromium (the console's) and promtool. Where one is absent its tests skip with a reason; in CI it
# must be there.
set -eu
sh "$(dirname "$0")/promtool-deps.sh"

# have PROGRAM PACKAGE WHAT: install what is missing where that can be done
have() {
    command -v "$1" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "==> installing $2"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$2"; } >/dev/null && return 0
    fi
    echo "$2 is not installed: $3 are skipped" >&2
    [ "${CI:-}" != true ]
}

have redis-server redis-server "tests against Redis proper"
have javac default-jdk-headless "the example in Java"
for browser in chromium-browser google-chrome google-chrome-stable; do
    command -v "$browser" >/dev/null 2>&1 && exit 0
done
have chromium chromium "the console's tests in a browser"
