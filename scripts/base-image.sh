#!/bin/sh
# Usage: base-image.sh FILE.tar
#
# A root file system that stands in for the base images where no registry can be reached: Debian
# trixie with the distribution's own Python (3.13, not the official image's 3.12), tini and Valkey.
# It proves that stages, COPY, USER, ENTRYPOINT, HEALTHCHECK and the compose file work; it says
# nothing about the official images. For tests only: never publish what is built on it.
set -eu
target=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
debootstrap --variant=minbase \
    --include=ca-certificates,python3,python3-pip,python3-venv,tini,valkey-server \
    trixie "$work/root" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }

root=$work/root
rm -rf "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/usr/share/doc "$root"/usr/share/man \
    "$root"/usr/share/locale "$root"/var/cache/apt/* "$root"/var/log/*
ln -s /usr/bin/python3 "$root/usr/local/bin/python3"
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
install -d -o 999 -g 999 "$root/data" # as in valkey/valkey
tar -C "$root" -cf "$target.part" .
mv "$target.part" "$target"
