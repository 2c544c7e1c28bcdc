#!/usr/bin/env bash
# The Engine API under load, in a release build: a thousand forkchoice updates a second for a minute, and calls in the
# middle of a sync at full speed. Prints memory and times, and fails past their bounds. Options by environment: DURATION_S,
# CALLS_PER_S; BLOCKS, PROFILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo bench -q -p moorline-tests --bench load -- engine
