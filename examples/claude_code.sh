#!/bin/sh
# Claude Code with Gemma behind it; arguments are its own: sh examples/claude_code.sh -p "Explain app/"
# Its key needs the tier `open`, as the one that `make serve` makes has. An agent sends 20,000 tokens
# before it says a word: serve a model with a context of 128k, and say here how long it is.
set -eu
key=${GATEWAY_API_KEY:-$(cat .gateway/api_key)}
export ANTHROPIC_BASE_URL="${GATEWAY_URL:-http://127.0.0.1:8000}"
export ANTHROPIC_AUTH_TOKEN="$key"
export ANTHROPIC_MODEL="${GATEWAY_MODEL_NAME:-gemma-3-270m}"
export ANTHROPIC_DEFAULT_HAIKU_MODEL="$ANTHROPIC_MODEL" # for small work in the background
export CLAUDE_CODE_MAX_CONTEXT_TOKENS="${GATEWAY_CONTEXT:-131072}"
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 # nothing goes elsewhere
exec "${CLAUDE:-claude}" "$@"
