#!/usr/bin/env bash
# The Engine API under load, in a release build: a thousand forkchoice updates a second for a minute, and calls in the
# middle of a sync at full speed. Prints memory and times, and fails past their bounds. Options by environment: DURATION_S,
# CALLS_PER_S; BLOCKS, PROFILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo test --release -q -p moorline-tests --test it -- --ignored --nocapture --test-threads 1 engine::load
