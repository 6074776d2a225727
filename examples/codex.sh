#!/bin/sh
# Codex CLI with Gemma behind it; arguments are its own: sh examples/codex.sh exec "Explain app/"
# Its key needs the tier `open`, as the one that `make serve` makes has, and the model a context of
# 32k or more. Nothing is written to ~/.codex/config.toml: put the same there to keep it.
set -eu
GATEWAY_API_KEY=${GATEWAY_API_KEY:-$(cat .gateway/api_key)}
export GATEWAY_API_KEY
url=${GATEWAY_URL:-http://127.0.0.1:8000}
exec "${CODEX:-codex}" \
    --config model="${GATEWAY_MODEL_NAME:-gemma-3-270m}" \
    --config model_context_window="${GATEWAY_CONTEXT:-131072}" \
    --config model_provider=gemma \
    --config "model_providers.gemma={ name = \"Gemma gateway\", base_url = \"$url/v1\", env_key = \"GATEWAY_API_KEY\", wire_api = \"responses\" }" \
    "$@"
