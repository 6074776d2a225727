#!/bin/sh
# Makes the secret files of docker-compose.yml that are absent; what exists stays as it is.
# Usage: secrets.sh [FOLDER]
#
# Compose mounts them as they are, and our containers don't run as you: so the files can be read by
# all, inside a folder that nobody but you can enter.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

put() {
    [ -e "$folder/$1" ] && return
    printf '%s\n' "$2" >"$folder/$1"
    chmod 644 "$folder/$1"
    echo "made $folder/$1"
}

put gateway_api_keys "sk-$(random)"
put gateway_operator_keys "sk-$(random)" # for the console and /v1/monitoring
put valkey.conf "requirepass $(random)"
put gateway_redis_url "redis://:$(sed -n 's/^requirepass //p' "$folder/valkey.conf")@valkey:6379/0"
put gateway_upstream_api_key "$(random)"
put vllm.yaml "api-key: $(cat "$folder/gateway_upstream_api_key")"
put hf_token "" # yours, for gated models such as google/gemma-3-4b-it
put grafana_password "$(random)"
put webui_secret_key "$(random)"
