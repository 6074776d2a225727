#!/bin/sh
# Open WebUI in front of the gateway (pip install open-webui), at http://127.0.0.1:3000; with Docker:
# docs/containers.md, profile webui. It asks for a title and tags after each answer: a call each.
set -eu
OPENAI_API_KEY=${GATEWAY_API_KEY:-$(cat .gateway/api_key)}
export OPENAI_API_KEY
export OPENAI_API_BASE_URL="${GATEWAY_URL:-http://127.0.0.1:8000}/v1"
export ENABLE_OLLAMA_API=false
exec "${OPEN_WEBUI:-open-webui}" serve --host 127.0.0.1 --port "${PORT:-3000}" "$@"
