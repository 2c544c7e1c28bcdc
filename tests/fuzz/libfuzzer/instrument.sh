#!/usr/bin/env bash
# rustc for cargo's RUSTC_WRAPPER: measures coverage in the crates that read what comes from outside, and
# not in ciphers and hashes, where it says nothing and costs most of the time.
READERS=' moorline_(fuzz|rlpx|discovery|engine_api|messages|rules) | alloy_(rlp|consensus|eips) | enr | discv5 | snap '
if [[ " $* " =~ --crate-name($READERS) ]]; then
  exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1
fi
exec "$@"
