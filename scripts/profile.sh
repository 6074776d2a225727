#!/bin/sh
# Print which install this machine can run: cuda, cpu, or core (no engine of its own).
set -eu
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo cuda
elif [ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] && grep -qw avx2 /proc/cpuinfo; then
    echo cpu
else
    echo core
fi
