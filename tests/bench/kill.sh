#!/usr/bin/env bash
# One sync, killed with `kill -9` at random moments and started again each time, until a last run may complete. Checks
# that nothing said to be on disk is ever lost and that the chain is whole in the end, and prints how much was fetched
# twice. Options by environment: BLOCKS, PROFILE, PEERS, WORK_MS (a peer's work on an answer), KILLS, SEED.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo bench -q -p moorline-tests --bench load -- kills
