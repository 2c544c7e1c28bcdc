#!/usr/bin/env bash
# How long the page of a big trace takes: until the server has read it, until the browser shows it, to filter it, to
# follow a block, and how many frames a second it scrolls. EVENTS="1000000 10000000" names the sizes.
set -euo pipefail
cd "$(dirname "$0")/../.."
events=${EVENTS:-1000000 10000000}
moorline=$PWD/target/release/moorline
[ -x "$moorline" ] || cargo build --release
cargo build --release -q -p moorline-trace --example synthesize
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
[ -d tests/page/node_modules/playwright-core ] || npm --prefix tests/page install --no-audit --no-fund --silent

for count in $events; do
  target/release/examples/synthesize --events "$count" --seed 1 "$dir/trace.jsonl" >/dev/null
  began=$(date +%s%N)
  "$moorline" trace view "$dir/trace.jsonl" >"$dir/url" 2>/dev/null &
  until grep -q http "$dir/url"; do sleep 0.02; done
  echo "$count events: read by the server in $((($(date +%s%N) - began) / 1000000)) ms"
  (cd tests/page && node bench.mjs "$(cat "$dir/url")")
  kill %% && wait %% 2>/dev/null || true
  rm "$dir/url" "$dir/trace.jsonl"
done
