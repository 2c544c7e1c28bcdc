#!/usr/bin/env bash
# Tries how Moorline serves peers against go-ethereum's conformance tool for eth.
#
#   eth_test.sh [MOORLINE]
#
# MOORLINE is the binary (default: target/release/moorline). GETH_VERSION (1.17.5) names the tool, whose
# own chain of 600 blocks is served: Moorline fetches it with its receipts from geth of the same version,
# which keeps receipts of what it imports, and then serves it alone. In the end an empty geth syncs from
# it. PORT_BASE (21700) moves the ports.
# Needs Go and Node; installs geth and the tool under .peers/. Everything stays on loopback.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
MOORLINE=${1:-$ROOT/target/release/moorline}
GETH_VERSION=${GETH_VERSION:-1.17.5}
MODULE=github.com/ethereum/go-ethereum
TOOLS=$ROOT/.peers/devp2p-v$GETH_VERSION
DEVP2P=$TOOLS/devp2p
SYNC_TIMEOUT_S=${SYNC_TIMEOUT_S:-120}
# below the ports that systems give to outgoing connections
PORT_BASE=${PORT_BASE:-21700}
export PORT_BASE
GETH=geth-$GETH_VERSION@eth-test
EMPTY_GETH=geth-$GETH_VERSION@from-moorline

# The tests that a node without a transaction pool passes.
SERVED='Status MaliciousHandshake BlockRangeUpdateExpired BlockRangeUpdateFuture BlockRangeUpdateInvalid
  GetBlockHeaders GetNonexistentBlockHeaders SimultaneousRequests SameRequestID ZeroRequestID
  GetBlockBodies GetReceipts GetLargeReceipts'
# The tests of a transaction pool, which Moorline has none of: it neither asks for a transaction nor passes
# one on, and cannot judge one without execution.
POOL='LargeTxRequest Transaction InvalidTxs NewPooledTxs BlobViolations TestBlobTxWithoutSidecar
  TestBlobTxWithMismatchedSidecar'
# Two of them wait without end for a request that never comes.
POOL_TEST_S=12

if [ ! -x "$MOORLINE" ]; then
  echo "there is no binary at $MOORLINE; build it with: cargo build --release" >&2
  exit 2
fi
MOORLINE=$(realpath "$MOORLINE")
WORK=$ROOT/.peers/eth-test
rm -rf "$WORK" && mkdir -p "$WORK"
JWT=$WORK/jwt.hex
printf '%064x\n' 4276992622 >"$JWT"
NODE_P2P=$((PORT_BASE + 900))
NODE_ENGINE=$((PORT_BASE + 901))
NODE_HTTP=$((PORT_BASE + 902))

# shellcheck source=checks.sh
. "$HERE/checks.sh"

node_pid=
peers() { "$HERE/peers.sh" "$@"; }
rpc() { node "$HERE/rpc.mjs" "$@"; }

cleanup() {
  if [ -n "$node_pid" ]; then
    kill "$node_pid" 2>/dev/null
    wait "$node_pid" 2>/dev/null
  fi
  peers stop "$GETH" "$EMPTY_GETH"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ ! -x "$DEVP2P" ]; then
  GOBIN=$TOOLS go install "$MODULE/cmd/devp2p@v$GETH_VERSION" || exit 2
fi
SUITE=$(go mod download -json "$MODULE@v$GETH_VERSION" |
  node -p 'JSON.parse(require("fs").readFileSync(0)).Dir')/cmd/devp2p/internal/ethtest
CHAIN=$SUITE/testdata
HEAD_HASH=$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).params[0].headBlockHash' "$CHAIN/headfcu.json")

fetch_chain() {
  local enode
  enode=$(peers start "$GETH" "$CHAIN/genesis.json" "$CHAIN/chain.rlp") || return 1
  timeout "$SYNC_TIMEOUT_S" "$MOORLINE" sync --chain "$CHAIN/genesis.json" --head "$HEAD_HASH" \
    --peer "$enode" --datadir "$WORK/node" --receipts --json || return 1
  peers stop "$GETH"
}

start_node() {
  "$MOORLINE" node --chain "$CHAIN/genesis.json" --datadir "$WORK/node" --addr 127.0.0.1 \
    --port "$NODE_P2P" --authrpc.port "$NODE_ENGINE" --authrpc.jwtsecret "$JWT" \
    --http.port "$NODE_HTTP" >"$WORK/node.log" 2>&1 &
  node_pid=$!
}

node_is_up() {
  kill -0 "$node_pid" && [ -s "$WORK/node/enode" ] && rpc "http://127.0.0.1:$NODE_HTTP" eth_chainId '[]'
}

# Status says it, and the tool takes no other.
is_at_head() { [ "$(rpc "$1" eth_blockNumber '[]')" = 0x258 ]; }
node_is_at_head() { is_at_head "http://127.0.0.1:$NODE_HTTP"; }

# eth_test SECONDS TEST: succeeds when the tool says that the test passed.
eth_test() {
  local log; log=$(mktemp -p "$WORK")
  timeout "$1" "$DEVP2P" rlpx eth-test --chain "$CHAIN" --node "$(cat "$WORK/node/enode")" \
    --engineapi "http://127.0.0.1:$NODE_ENGINE" --jwtsecret "$(cat "$JWT")" --run "^$2\$" >"$log" 2>&1
  [ $? -ne 124 ] || echo "the tool still waits" >>"$log"
  cat "$log"
  grep -q "^-- OK $2 " "$log"
}

# no_pool TEST: it does not pass, and for no other reason than that nothing came of what it said.
no_pool() {
  local said
  said=$(eth_test "$POOL_TEST_S" "$1") && { echo "it passes"; return 1; }
  echo "$said"
  grep -q 'i/o timeout' <<<"$said" || grep -q '^the tool still waits' <<<"$said"
}

engine_of_empty_geth() {
  JWT_SECRET=$ROOT/.peers/run/$EMPTY_GETH/data/geth/jwtsecret rpc "$(peers engine "$EMPTY_GETH")" "$@"
}

empty_geth_follows() {
  engine_of_empty_geth "$CHAIN/headfcu.json" payloadStatus.status
  is_at_head "$(peers rpc "$EMPTY_GETH")"
}

# A geth that has nothing is told the head, and has no peer but the node.
geth_syncs_from_node() {
  local payload=$WORK/payload.json
  node -p 'JSON.stringify(JSON.parse(require("fs").readFileSync(process.argv[1])).at(-1))' "$CHAIN/newpayload.json" >"$payload"
  peers start "$EMPTY_GETH" "$CHAIN/genesis.json" || return 1
  rpc "$(peers rpc "$EMPTY_GETH")" admin_addPeer "[\"$(cat "$WORK/node/enode")\"]" || return 1
  engine_of_empty_geth "$payload" status || return 1
  until_true "$SYNC_TIMEOUT_S" empty_geth_follows
}

# Every test of the tool is in one of the two lists.
all_are_listed() {
  local name known
  known=$(sed -n '/) EthTests()/,/^}/s/.*{Name: "\([^"]*\)".*/\1/p' "$SUITE/suite.go")
  [ -n "$known" ] || { echo "cannot tell the tests of $SUITE"; return 1; }
  for name in $known; do
    grep -qw "$name" <<<"$SERVED $POOL" || { echo "$name is not listed"; return 1; }
  done
}

check "every test of geth $GETH_VERSION is listed" all_are_listed
if check "the chain and its receipts come from geth" fetch_chain && start_node &&
  check "node starts" until_true 30 node_is_up && check "node is at block 600" until_true 30 node_is_at_head; then
  for test in $SERVED; do
    check "eth-test $test" eth_test 60 "$test"
  done
  for test in $POOL; do
    check "eth-test $test needs a pool" no_pool "$test"
  done
  check "an empty geth syncs from the node" geth_syncs_from_node
  # whatever the last ones sent has cost no one else the node
  check "eth-test Status after all of them" eth_test 60 Status
fi

closing
