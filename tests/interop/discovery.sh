#!/usr/bin/env bash
# Tries Moorline's discovery against go-ethereum's conformance tool.
#
#   discovery.sh [LISTENER]
#
# LISTENER is a binary that is called with an address such as 127.0.0.1:30303, prints its enode and its
# ENR on the first two lines, and ends when its standard input does (default: the example `listen` of
# node/discovery, which is built). GETH_VERSION (v1.17.5) names the tool, PORT_BASE (21300) where to
# listen. Needs Go; installs the tool under .peers/. Everything stays on loopback, where the tool needs
# 127.0.0.2 beside 127.0.0.1.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
GETH_VERSION=${GETH_VERSION:-v1.17.5}
# below the ports that systems give to outgoing connections
PORT_BASE=${PORT_BASE:-21300}
TOOLS=$ROOT/.peers/devp2p-$GETH_VERSION
DEVP2P=$TOOLS/devp2p
WORK=$ROOT/.peers/discovery
ADDRESS=127.0.0.1:$((PORT_BASE + 950))
rm -rf "$WORK" && mkdir -p "$WORK"

passed=0 failed=0 listener_pid='' keep_open=''

stop_listener() {
  [ -n "$listener_pid" ] || return 0
  exec {keep_open}>&-
  for _ in $(seq 50); do kill -0 "$listener_pid" 2>/dev/null || break; sleep 0.1; done
  kill "$listener_pid" 2>/dev/null
  wait "$listener_pid" 2>/dev/null
  listener_pid=
}
trap stop_listener EXIT
trap 'exit 130' INT TERM

# start_listener NAME: a listener with an empty table; its two lines become $enode and $enr.
start_listener() {
  stop_listener
  mkfifo "$WORK/$1.in"
  "$LISTENER" "$ADDRESS" <"$WORK/$1.in" >"$WORK/$1.out" 2>"$WORK/$1.err" &
  listener_pid=$!
  exec {keep_open}>"$WORK/$1.in"
  for _ in $(seq 100); do
    [ "$(wc -l <"$WORK/$1.out")" -ge 2 ] && break
    kill -0 "$listener_pid" 2>/dev/null || break
    sleep 0.1
  done
  enode=$(sed -n 1p "$WORK/$1.out") enr=$(sed -n 2p "$WORK/$1.out")
  if [ -z "$enr" ]; then
    echo "FAIL $1: the listener does not start:"
    sed 's/^/     /' "$WORK/$1.err"
    failed=$((failed + 1))
    return 1
  fi
}

# conformance NAME WANTED COMMAND...: counts the tool's own tests, and that it had so many of them.
conformance() {
  local name=$1 wanted=$2 log=$WORK/$1.log seen=0 verdict test; shift 2
  "$@" >"$log" 2>&1
  while read -r _ verdict test _; do
    seen=$((seen + 1))
    if [ "$verdict" = OK ]; then
      passed=$((passed + 1))
      echo "PASS $name $test"
    else
      failed=$((failed + 1))
      echo "FAIL $name $test, from $log"
    fi
  done < <(grep -E '^-- (OK|FAIL) ' "$log")
  if [ "$seen" -lt "$wanted" ]; then
    failed=$((failed + 1))
    echo "FAIL $name: $seen tests ran where there are $wanted, from $log:"
    tail -n 15 "$log" | sed 's/^/     /'
  fi
}

if [ ! -x "$DEVP2P" ]; then
  GOBIN=$TOOLS go install "github.com/ethereum/go-ethereum/cmd/devp2p@$GETH_VERSION" || exit 2
fi
if [ $# -ge 1 ]; then
  LISTENER=$(realpath "$1")
else
  cargo build --quiet --manifest-path "$ROOT/Cargo.toml" -p moorline-discovery --example listen || exit 2
  LISTENER=${CARGO_TARGET_DIR:-$ROOT/target}/debug/examples/listen
fi

start_listener discv4 &&
  conformance discv4 15 timeout 120 "$DEVP2P" discv4 test --listen1 127.0.0.1 --listen2 127.0.0.2 --remote "$enode"
start_listener discv5 &&
  conformance discv5 7 timeout 180 "$DEVP2P" discv5 test --listen1 127.0.0.1 --listen2 127.0.0.2 "$enr"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
