#!/bin/sh
# Tests of the trace page: `run.sh` on made-up columns; with MOORLINE=<binary> and TRACE=<recording> on those as well.
set -eu
cd "$(dirname "$0")"
if [ ! -x /usr/bin/chromium ]; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi
[ -d node_modules/playwright-core ] || npm install --no-audit --no-fund --silent
exec node --test --test-concurrency=1 model.test.mjs page.test.mjs
