#!/usr/bin/env bash
# Tries whether clients that others wrote stay with a Moorline that follows the chain, and fetch from it.
#
#   stay.sh [DATA_DIR] [MOORLINE]
#
# One geth has the whole chain, and Moorline follows it, given a new block every twelve seconds. An empty geth and
# an empty ethereumjs know nobody but Moorline and are given the same blocks: what came before the first of them
# they have to fetch from it, and geth every fifth one, too. STAY_S (600) is how long this goes on. DATA_DIR and
# MOORLINE as in run.sh. Needs Go, Node and npm; installs the peers under .peers/.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
DATA=${1:-$ROOT/../shared/data}
MOORLINE=${2:-$ROOT/target/release/moorline}
STAY_S=${STAY_S:-600}
SLOT_MS=12000
LAST=600
FIRST=$((LAST - STAY_S * 1000 / SLOT_MS))
[ "$FIRST" -ge 50 ] || FIRST=50
# below the ports that systems give to outgoing connections
PORT_BASE=${PORT_BASE:-21300}
export PORT_BASE

if [ ! -f "$DATA/geth-ethtest/chain.rlp" ]; then
  echo "skipped: $DATA/geth-ethtest is not beside this checkout"
  exit 0
fi
if [ ! -x "$MOORLINE" ]; then
  echo "there is no binary at $MOORLINE; build it with: cargo build --release" >&2
  exit 2
fi

GENESIS=$(realpath "$DATA/geth-ethtest/genesis.json")
CHAIN=$(realpath "$DATA/geth-ethtest/chain.rlp")
PAYLOADS=$(realpath "$DATA/geth-ethtest/newpayload.json")
MOORLINE=$(realpath "$MOORLINE")
SOURCE=geth-1.17.5
GETH=geth-1.17.5@stay
ETHEREUMJS=ethereumjs@stay
NODE_P2P=$((PORT_BASE + 920))
NODE_ENGINE=$((PORT_BASE + 921))
NODE_HTTP=$((PORT_BASE + 922))

WORK=$ROOT/.peers/stay
rm -rf "$WORK" && mkdir -p "$WORK"
JWT=$WORK/jwt.hex
printf '%064x\n' 4276992622 >"$JWT"
export ENGINE_JWT=$JWT PAYLOADS

# shellcheck source=checks.sh
. "$HERE/checks.sh"

node_pid='' driver_pid=''
peers() { "$HERE/peers.sh" "$@"; }
rpc() { node "$HERE/rpc.mjs" "$@"; }

kill_hard() {
  [ -n "$1" ] || return 0
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

cleanup() {
  kill_hard "$driver_pid"
  kill_hard "$node_pid"
  peers stop "$SOURCE" "$GETH" "$ETHEREUMJS"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_peer() { peers start "$@" | tee "$WORK/$1.enode"; [ -s "$WORK/$1.enode" ]; }
enode_of() { cat "$WORK/$1.enode"; }

start_node() {
  "$MOORLINE" node --chain "$GENESIS" --datadir "$WORK/node" --receipts --no-discovery --addr 127.0.0.1 \
    --peer "$(enode_of "$SOURCE")" --trace "$WORK/trace" \
    --port "$NODE_P2P" --authrpc.port "$NODE_ENGINE" --authrpc.jwtsecret "$JWT" --http.port "$NODE_HTTP" \
    >"$WORK/node.log" 2>&1 &
  node_pid=$!
}

node_is_up() { kill -0 "$node_pid" && rpc "http://127.0.0.1:$NODE_HTTP" eth_chainId '[]'; }

operator() { JWT_SECRET=$JWT rpc "http://127.0.0.1:$NODE_ENGINE" "$@"; }

add_them() {
  operator admin_addPeer "[\"$(enode_of "$GETH")\"]"
  operator admin_addPeer "[\"$(enode_of "$ETHEREUMJS")\"]"
}

height_at() { echo $(($(rpc "$1" eth_blockNumber '[]'))); }
reached() { [ "$(height_at "$1")" -ge "$2" ]; }

# For how many seconds Moorline has had its session with a peer; nothing where it has none.
session_s() {
  operator admin_peers '[]' |
    ENODE=$(enode_of "$1") node -e '
      let text = ""; process.stdin.on("data", (part) => (text += part)).on("end", () => {
        const id = process.env.ENODE.slice("enode://".length).split("@")[0]
        const peer = JSON.parse(text).find((peer) => peer.enode.includes(id))
        if (peer) console.log(peer.moorline.connectedSeconds)
      })'
}

is_connected() { [ -n "$(session_s "$1")" ]; }

# It has had the same session for at least so long.
stayed() {
  local now; now=$(session_s "$1")
  echo "connected for ${now:-no} s"
  [ -n "$now" ] && [ "$now" -ge "$2" ]
}

# Everything an empty client has came from Moorline: it knows nobody else.
knows_only_us() {
  rpc "$1" admin_peers '[]' | node -e '
    let text = ""; process.stdin.on("data", (part) => (text += part)).on("end", () => {
      const peers = JSON.parse(text).map((peer) => peer.name)
      console.log(peers)
      process.exit(peers.length === 1 && /moorline/.test(peers[0]) ? 0 : 1)
    })'
}

# Moorline is where its consensus client is before others look at it.
catch_up() {
  node "$HERE/follow.mjs" "$SOURCE_RPC" "$FIRST" "$FIRST" 1000 "moorline=http://127.0.0.1:$NODE_ENGINE=$JWT"
  until_true 60 reached "http://127.0.0.1:$NODE_HTTP" "$FIRST"
}

start_driver() {
  node "$HERE/follow.mjs" "$SOURCE_RPC" "$FIRST" "$LAST" "$SLOT_MS" \
    "moorline=http://127.0.0.1:$NODE_ENGINE=$JWT" \
    "geth=$(peers engine "$GETH")=$ROOT/.peers/run/$GETH/data/geth/jwtsecret" \
    "ethereumjs=$(peers engine "$ETHEREUMJS")=$JWT" >"$WORK/driver.log" 2>&1 &
  driver_pid=$!
}

check "geth with the chain starts" start_peer "$SOURCE" "$GENESIS" "$CHAIN" || closing || exit 1
SOURCE_RPC=$(peers rpc "$SOURCE")
start_node
if check "moorline starts" until_true 30 node_is_up &&
  check "moorline catches up" catch_up &&
  check "empty geth starts" start_peer "$GETH" "$GENESIS" &&
  check "empty ethereumjs starts" start_peer "$ETHEREUMJS" "$GENESIS" &&
  check "moorline is told of them" add_them &&
  check "geth is connected" until_true 60 is_connected "$GETH" &&
  check "ethereumjs is connected" until_true 60 is_connected "$ETHEREUMJS"; then
  started=$SECONDS
  start_driver
  check "geth fetches and executes what moorline has" until_true 120 reached "$(peers rpc "$GETH")" "$FIRST"
  check "geth knows nobody else" knows_only_us "$(peers rpc "$GETH")"
  check "the heads are all named" wait "$driver_pid"
  driver_pid=
  check "moorline is at the last head" until_true 10 reached "http://127.0.0.1:$NODE_HTTP" "$LAST"
  check "geth is at the last head" until_true 10 reached "$(peers rpc "$GETH")" "$LAST"
  check "ethereumjs is at the last head" until_true 120 reached "$(peers rpc "$ETHEREUMJS")" "$LAST"
  check "geth never left" stayed "$GETH" $((SECONDS - started))
  check "ethereumjs never left" stayed "$ETHEREUMJS" $((SECONDS - started))
else
  tail -n 15 "$WORK/node.log" | sed 's/^/     /'
fi

closing
