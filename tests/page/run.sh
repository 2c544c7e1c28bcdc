#!/bin/sh
# Tests of the trace page: on made-up columns; with MOORLINE=<binary> on recordings that are made here as well.
set -eu
cd "$(dirname "$0")"
if [ ! -x /usr/bin/chromium ]; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi
[ -d node_modules/playwright-core ] || npm install --no-audit --no-fund --silent
if [ -n "${MOORLINE:-}" ]; then
  recordings=$(mktemp -d)
  trap 'rm -rf "$recordings"' EXIT
  for run in a b; do
    "$MOORLINE" demo --blocks 600 --profile small --datadir "$recordings/$run" --json > /dev/null
  done
  export MOORLINE TRACE="$recordings/a/trace" TRACE_OTHER="$recordings/b/trace"
fi
node --test --test-concurrency=1 "${@:-.}"
