#!/bin/sh
# What tests/network needs beside Redis: Debian's iproute2 (network namespaces) and HAProxy. Those
# tests skip with a reason where it is absent; in CI it must be there.
set -eu
if command -v ip >/dev/null 2>&1 && command -v haproxy >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "==> installing iproute2 and haproxy"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2 haproxy; } >/dev/null \
        && exit 0
fi
echo "iproute2 or haproxy is not installed: tests on a network of namespaces are skipped" >&2
[ "${CI:-}" != true ]
