#!/usr/bin/env bash
# Records a demonstration, exports it for Perfetto, and has Perfetto's own schema read it.
#   perfetto.sh [MOORLINE]
set -euo pipefail
cd "$(dirname "$0")/../.."
moorline=${1:-target/release/moorline}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$moorline" demo --blocks 600 --profile small --json --datadir "$dir/demo" >/dev/null
"$moorline" trace export perfetto "$dir/demo/trace" "$dir/demo.pftrace"
handlings=$("$moorline" trace stats --json "$dir/demo/trace" | python3 -c '
import json, sys
messages = json.load(sys.stdin)["messages"]
print(sum(m["busy"]["known"] for m in messages))')
python3 tests/interop/perfetto.py "$dir/demo.pftrace" --handlings "$handlings"
