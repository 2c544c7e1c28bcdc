#!/usr/bin/env bash
# Tries Moorline against clients that others wrote.
#
#   run.sh [DATA_DIR] [MOORLINE]
#
# DATA_DIR holds geth-ethtest/{genesis.json,chain.rlp,headfcu.json} (default: ../shared/data beside the
# checkout); MOORLINE is the binary (default: target/release/moorline). PEERS_UNDER_TEST narrows the
# peers, STAY_S (60) is how long an empty geth must stay connected. Needs Go, Node and npm; installs
# the peers under .peers/.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
DATA=${1:-$ROOT/../shared/data}
MOORLINE=${2:-$ROOT/target/release/moorline}
PEERS_UNDER_TEST=${PEERS_UNDER_TEST:-geth-1.17.5 geth-1.16.7 ethereumjs}
SYNC_TIMEOUT_S=${SYNC_TIMEOUT_S:-120}
STAY_S=${STAY_S:-60}
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
FORKCHOICE=$(realpath "$DATA/geth-ethtest/headfcu.json")
MOORLINE=$(realpath "$MOORLINE")
HEAD_NUMBER=600
HEAD_HASH=$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).params[0].headBlockHash' "$FORKCHOICE")
EMPTY_GETH=geth-1.17.5@empty
NODE_P2P=$((PORT_BASE + 900))
NODE_ENGINE=$((PORT_BASE + 901))
NODE_HTTP=$((PORT_BASE + 902))

WORK=$ROOT/.peers/interop
rm -rf "$WORK" && mkdir -p "$WORK"
JWT=$WORK/jwt.hex
printf '%064x\n' 4276992622 >"$JWT"

# shellcheck source=checks.sh
. "$HERE/checks.sh"

node_pid=
peers() { "$HERE/peers.sh" "$@"; }
rpc() { node "$HERE/rpc.mjs" "$@"; }

cleanup() {
  stop_node
  # shellcheck disable=SC2086 # a list of names
  peers stop $PEERS_UNDER_TEST "$EMPTY_GETH"
}

stop_node() {
  [ -n "$node_pid" ] || return 0
  kill "$node_pid" 2>/dev/null
  for _ in $(seq 100); do kill -0 "$node_pid" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$node_pid" 2>/dev/null
  wait "$node_pid" 2>/dev/null
  node_pid=
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_peer() { peers start "$@" | tee "$WORK/$1.enode"; [ -s "$WORK/$1.enode" ]; }

sync_from() {
  local enode=$1 dir=$2; shift 2
  timeout "$SYNC_TIMEOUT_S" "$MOORLINE" sync --chain "$GENESIS" --head "$HEAD_HASH" --peer "$enode" \
    --datadir "$dir" --json "$@" >"$dir.json" || { echo "moorline sync ended with $?"; return 1; }
  cat "$dir.json"
  node -e '
    const [file, number, hash] = process.argv.slice(1)
    const { ok, blocks, head } = JSON.parse(require("fs").readFileSync(file))
    const right = ok === true && blocks === +number && head.number === +number && head.hash === hash
    if (!right) { console.error("the summary is not that of", number, "blocks up to", hash); process.exit(1) }
  ' "$dir.json" "$HEAD_NUMBER" "$HEAD_HASH"
}

# with_receipts ENODE DIR: as sync_from, with receipts; all that blocks with transactions have are there.
with_receipts() {
  sync_from "$1" "$2" --receipts && "$MOORLINE" db check --datadir "$2" &&
    node -e '
      const fs = require("fs"), [summary] = process.argv.slice(1)
      const { receipts } = JSON.parse(fs.readFileSync(summary))
      if (!(receipts > 0)) { console.error("no receipts came"); process.exit(1) }
      console.log(receipts, "blocks have receipts")
    ' "$2.json"
}

export_equals() {
  "$MOORLINE" chain export --datadir "$1" "$1.rlp" && cmp "$1.rlp" "$CHAIN"
}

start_node() {
  "$MOORLINE" node --no-discovery --chain "$GENESIS" --datadir "$WORK/node" --peer "$1" --addr 127.0.0.1 \
    --port "$NODE_P2P" --authrpc.port "$NODE_ENGINE" --authrpc.jwtsecret "$JWT" \
    --http.port "$NODE_HTTP" >"$WORK/node.log" 2>&1 &
  node_pid=$!
}

node_is_up() {
  kill -0 "$node_pid" && [ -s "$WORK/node/enode" ] && rpc "http://127.0.0.1:$NODE_HTTP" eth_chainId '[]'
}

node_follows() {
  local status
  status=$(JWT_SECRET=$JWT rpc "http://127.0.0.1:$NODE_ENGINE" "$FORKCHOICE" payloadStatus.status) || return 1
  echo "forkchoiceUpdated: $status"
  [ "$status" = SYNCING ]
}

node_refuses_no_token() {
  local answer
  answer=$(rpc "http://127.0.0.1:$NODE_ENGINE" "$FORKCHOICE" 2>&1) && return 1
  echo "$answer"
  grep -q 'HTTP 401' <<<"$answer"
}

node_reached_head() {
  [ "$(rpc "http://127.0.0.1:$NODE_HTTP" eth_blockNumber '[]')" = "$(printf '0x%x' "$HEAD_NUMBER")" ]
}

# The local address of the empty geth's connection to us, or nothing: a new one means a reconnect.
connection_of_empty_geth() {
  local id; id=$(sed 's#enode://##; s#@.*##' "$WORK/node/enode")
  rpc "$(peers rpc "$EMPTY_GETH")" admin_peers '[]' |
    ID=$id node -e '
      let text = ""; process.stdin.on("data", (part) => (text += part)).on("end", () => {
        const us = JSON.parse(text).find((peer) => peer.enode.includes(process.env.ID) && peer.protocols.eth?.version)
        if (us) console.log(us.network.localAddress)
      })'
}

is_connected() { [ -n "$(connection_of_empty_geth)" ]; }

empty_geth_stays() {
  local first now deadline
  start_peer "$EMPTY_GETH" "$GENESIS" || return 1
  rpc "$(peers rpc "$EMPTY_GETH")" admin_addPeer "[\"$(cat "$WORK/node/enode")\"]" || return 1
  until_true 30 is_connected || return 1
  first=$(connection_of_empty_geth)
  deadline=$((SECONDS + STAY_S))
  while [ $SECONDS -lt $deadline ]; do
    sleep 2
    now=$(connection_of_empty_geth)
    [ "$now" = "$first" ] || { echo "the connection from $first became '${now:-none}'"; return 1; }
  done
  echo "connected from $first for $STAY_S s"
}

for peer in $PEERS_UNDER_TEST; do
  check "$peer is installed and serves" start_peer "$peer" "$GENESIS" "$CHAIN" || continue
  enode=$(cat "$WORK/$peer.enode")
  check "sync from $peer" sync_from "$enode" "$WORK/$peer" &&
    check "export after $peer equals chain.rlp" export_equals "$WORK/$peer"
  # ethereumjs as it comes answers no request for receipts
  case $peer in
    geth-*) check "receipts from $peer" with_receipts "$enode" "$WORK/$peer-receipts" ;;
  esac
done

first_peer=${PEERS_UNDER_TEST%% *}
start_node "$(cat "$WORK/$first_peer.enode" 2>/dev/null)"
if check "node starts" until_true 30 node_is_up; then
  check "node refuses a call without a token" node_refuses_no_token
  check "node takes the forkchoice" node_follows
  if check "node reaches block $HEAD_NUMBER" until_true "$SYNC_TIMEOUT_S" node_reached_head; then
    check "a second moorline syncs from the first" sync_from "$(cat "$WORK/node/enode")" "$WORK/second" &&
      check "export of the second equals chain.rlp" export_equals "$WORK/second"
    check "an empty geth 1.17.5 stays connected for $STAY_S s" empty_geth_stays
    stop_node
    check "export of the node equals chain.rlp" export_equals "$WORK/node"
  fi
else
  tail -n 15 "$WORK/node.log" | sed 's/^/     /'
fi

closing
