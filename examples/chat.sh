#!/bin/sh
# A streamed chat completion with curl: one server-sent event a line.
set -eu
url=${GATEWAY_URL:-http://127.0.0.1:8000}
key=${GATEWAY_API_KEY:-$(cat .gateway/api_key)}

# The question becomes a JSON string, and the key stays out of the list of processes.
question=$(printf '%s' "${1:-Tell me about the sea.}" | sed 's/[\\"]/\\&/g')
printf 'Authorization: Bearer %s\n' "$key" | curl --no-buffer --silent --show-error --fail-with-body \
    --header @- --header "Content-Type: application/json" \
    --data "{\"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"$question\"}]}" \
    "$url/v1/chat/completions"
