#!/usr/bin/env bash
# What recording costs a sync: the same blocks from the same peer, with and without --trace, in turns.
# Prints the median blocks/s of each and their ratio. Options by environment: BLOCKS, PROFILE, PAIRS.
set -euo pipefail
cd "$(dirname "$0")/../.."
blocks=${BLOCKS:-50000} profile=${PROFILE:-small} pairs=${PAIRS:-9}
moorline=$PWD/target/release/moorline
[ -x "$moorline" ] || cargo build --release
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT

"$moorline" chain generate --blocks "$blocks" --profile "$profile" --genesis "$dir/genesis.json" "$dir/chain.rlp" 2>/dev/null
common=(--chain "$dir/genesis.json")
"$moorline" chain import "${common[@]}" --datadir "$dir/source" "$dir/chain.rlp" 2>/dev/null
"$moorline" node "${common[@]}" --datadir "$dir/source" --addr 127.0.0.1 --port 0 --authrpc.port 0 \
  --http.port 0 2>"$dir/source.log" &
until grep -q 'JSON-RPC clients read it' "$dir/source.log"; do sleep 0.1; done
enode=$(cat "$dir/source/enode")
rpc=$(grep -o 'http://[0-9.:]*' "$dir/source.log" | tail -1)
head=$(curl -s -H 'content-type: application/json' "$rpc" \
  -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getBlockByNumber\",\"params\":[\"latest\",false]}" \
  | grep -o '"hash":"0x[0-9a-f]*"' | head -1 | cut -d'"' -f4)

run() { # where the trace goes, if anywhere
  rm -rf "$dir/copy" "$dir/trace"
  "$moorline" sync "${common[@]}" --datadir "$dir/copy" --head "$head" --peer "$enode" --json "$@" 2>/dev/null \
    | grep -o '"blocks_per_s":[0-9.]*' | cut -d: -f2
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

run >/dev/null # what the first run pays for the others
for _ in $(seq "$pairs"); do
  run >>"$dir/without"
  run --trace "$dir/trace" >>"$dir/with"
done
without=$(median <"$dir/without") with=$(median <"$dir/with")
records=$(cat "$dir"/trace/run-*.jsonl | wc -l) bytes=$(cat "$dir"/trace/run-*.jsonl | wc -c)
echo "$blocks $profile blocks, $pairs pairs: $without blocks/s without recording, $with with"
awk -v a="$without" -v b="$with" 'BEGIN { printf "ratio %.3f\n", b / a }'
echo "$records records, $bytes bytes"
