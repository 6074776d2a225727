#!/bin/sh
# What building and running our images without Docker needs (Debian: buildah, podman and company).
# Where Docker is used instead, or nothing can be installed, the tests of images skip with a reason;
# in CI the tools must be there.
set -eu
wanted="buildah podman runc netavark aardvark-dns conmon iptables debootstrap"
missing=""
for package in $wanted; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "==> installing$missing"
    # shellcheck disable=SC2086 # one word a package
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing; } >/dev/null && exit 0
fi
echo "not installed:$missing: tests that build and run images are skipped" >&2
[ "${CI:-}" != true ]
