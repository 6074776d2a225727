#!/bin/sh
# Debian's prometheus (for promtool) and systemd (for systemd-analyze), which judge deploy/. Nothing is
# started. Those tests skip with a reason where a tool is absent; in CI it must be there.
set -eu
missing=
command -v promtool >/dev/null 2>&1 || missing="prometheus"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "==> installing $missing"
    # Without this, Debian starts a Prometheus server on its port 9090.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    # shellcheck disable=SC2086 # one word for each package
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/dev/null \
        && exit 0
fi
echo "not installed: $missing; tests that need it are skipped" >&2
[ "${CI:-}" != true ]
