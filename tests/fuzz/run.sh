#!/usr/bin/env bash
# Fuzzes the targets of this crate under libFuzzer: run.sh [TARGET|all] [RUNS]. Prints one line for each
# target, and stops at the first that crashes, hangs, or takes more than 32 MiB at a time. Needs a C++
# compiler; any Rust toolchain will do.
#
# What it finds on the way stays in target/fuzz/corpus, and `run.sh merge [TARGET|all]` takes from there into
# corpus/ what reaches more than corpus/ does.
set -euo pipefail
cd "$(dirname "$0")"
HERE=$PWD
ROOT=$(cd ../.. && pwd)
TARGET_DIR=$ROOT/target/fuzz
FUZZ=$TARGET_DIR/release/moorline-libfuzzer

(
  cd libfuzzer
  RUSTC_WRAPPER=$PWD/instrument.sh CARGO_TARGET_DIR=$TARGET_DIR cargo build --release --quiet
)

# name and longest input of the targets that are meant
meant() { "$FUZZ" 2>/dev/null | awk -v name="$1" 'name == "all" || $1 == name'; }
check() { [ -n "$(meant "$1")" ] || { echo "there is no target $1" >&2; exit 2; }; }

fuzz() {
  local name=$1 max_len=$2 runs=$3 log=$TARGET_DIR/$1.log
  local found=$TARGET_DIR/corpus/$name seeds=$TARGET_DIR/seeds/$name
  mkdir -p "$found" "$seeds" "$HERE/corpus/$name"
  # a crash leaves its input in target/fuzz/crash-*
  if ! MOORLINE_FUZZ_TARGET=$name MOORLINE_FUZZ_SEEDS=$seeds "$FUZZ" "$found" "$HERE/corpus/$name" "$seeds" -runs="$runs" \
      -max_len="$max_len" -timeout=10 -rss_limit_mb=512 -print_final_stats=1 -verbosity=1 \
      -artifact_prefix="$TARGET_DIR/$name-" >"$log" 2>&1; then
    tail -n 40 "$log"
    return 1
  fi
  awk -v name="$name" '
    /^stat::number_of_executed_units/ { runs = $2 }
    /^stat::average_exec_per_sec/ { rate = $2 }
    /^stat::peak_rss_mb/ { rss = $2 }
    / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") cov = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
    END { printf "%-18s %9d runs %8d/s  %5d edges  corpus %-12s peak %d MiB\n", name, runs, rate, cov, corpus, rss }
  ' "$log"
}

# what is in the corpus stays there, whatever else reaches the same
merge() {
  local name=$1 max_len=$2
  local found=$TARGET_DIR/corpus/$name seeds=$TARGET_DIR/seeds/$name
  mkdir -p "$HERE/corpus/$name" "$found" "$seeds"
  MOORLINE_FUZZ_TARGET=$name MOORLINE_FUZZ_SEEDS=$seeds "$FUZZ" -set_cover_merge=1 -use_counters=0 \
    -max_len="$max_len" "$HERE/corpus/$name" "$found" "$seeds" >"$TARGET_DIR/$name.merge.log" 2>&1
}

if [ "${1:-}" = merge ]; then
  check "${2:-all}"
  meant "${2:-all}" | while read -r name max_len; do merge "$name" "$max_len"; done
else
  check "${1:-all}"
  meant "${1:-all}" | while read -r name max_len; do fuzz "$name" "$max_len" "${2:-10000000}"; done
fi
