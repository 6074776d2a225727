#!/bin/sh
# Stop with a plain message where no engine can run in process and none is named elsewhere.
set -eu
[ "$PROFILE" = core ] || exit 0
[ -z "${GATEWAY_UPSTREAMS:-}" ] || exit 0
if grep -qs '^upstreams:' "${GATEWAY_CONFIG:-gateway.yaml}"; then exit 0; fi
cat >&2 <<'MESSAGE'
vLLM has no build for this machine without a GPU (it needs Linux on x86-64 with AVX2, or an NVIDIA
GPU), so no model can run inside the gateway here. The light core install is ready and works in
front of any OpenAI-compatible server. With Ollama, for example:

    ollama pull gemma3
    GATEWAY_UPSTREAMS=http://127.0.0.1:11434/v1 make serve
MESSAGE
exit 1
