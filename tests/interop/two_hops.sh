#!/usr/bin/env bash
# Tries whether Moorline finds a chain two hops away, by discovery alone: one node holds it, a geth that
# holds nothing is the only node that either of the others is told of.
#
#   two_hops.sh [DATA_DIR] [MOORLINE]
#
# Arguments and PORT_BASE (21300) as for run.sh; PEERS is where geth is installed. Everything stays on
# loopback.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
DATA=${1:-$ROOT/../shared/data}
MOORLINE=${2:-$ROOT/target/release/moorline}
SYNC_TIMEOUT_S=${SYNC_TIMEOUT_S:-240}
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
MOORLINE=$(realpath "$MOORLINE")
HEAD_NUMBER=600
HEAD_HASH=$(node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).params[0].headBlockHash' "$DATA/geth-ethtest/headfcu.json")
PEERS=${PEERS:-$ROOT/.peers}
export PEERS
GETH=$PEERS/geth-1.17.5/geth
GETH_P2P=$((PORT_BASE + 960))
GETH_HTTP=$((PORT_BASE + 961))
GETH_ENGINE=$((PORT_BASE + 962))
HOLDER_P2P=$((PORT_BASE + 970))
HOLDER_ENGINE=$((PORT_BASE + 971))
HOLDER_HTTP=$((PORT_BASE + 972))

WORK=$PEERS/two-hops
rm -rf "$WORK" && mkdir -p "$WORK"

# shellcheck source=checks.sh
. "$HERE/checks.sh"

geth_pid='' holder_pid=''
rpc() { node "$HERE/rpc.mjs" "$@"; }

stop() {
  for pid in $geth_pid $holder_pid; do
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  geth_pid='' holder_pid=''
}
trap stop EXIT
trap 'exit 130' INT TERM

# start_geth VERSION: speaks this version of discovery only, knows nobody, and has no blocks.
start_geth() {
  local dir=$WORK/geth-$1 v4=false v5=false
  case $1 in v4) v4=true ;; v5) v5=true ;; esac
  "$GETH" init --datadir "$dir" "$GENESIS" >"$dir.log" 2>&1 || return 1
  cat >"$dir.toml" <<TOML
[Node.P2P]
ListenAddr = "127.0.0.1:$GETH_P2P"
BootstrapNodes = []
BootstrapNodesV5 = []
TOML
  "$GETH" --config "$dir.toml" --datadir "$dir" --ipcdisable --nat extip:127.0.0.1 --netrestrict 127.0.0.0/8 \
    --discovery.v4="$v4" --discovery.v5="$v5" --discovery.dns '' --syncmode full --cache 128 --maxpeers 16 \
    --http --http.addr 127.0.0.1 --http.port "$GETH_HTTP" --http.api admin,eth,net \
    --authrpc.addr 127.0.0.1 --authrpc.port "$GETH_ENGINE" >>"$dir.log" 2>&1 &
  geth_pid=$!
  until_true 60 rpc "http://127.0.0.1:$GETH_HTTP" admin_nodeInfo '[]' enr
}

# start_holder VERSION BOOTNODE: has the chain, and tells nobody where it is but the bootnode.
start_holder() {
  rm -f "$WORK/holder/enode"
  # shellcheck disable=SC2046 # two words
  "$MOORLINE" node --chain "$GENESIS" --datadir "$WORK/holder" --addr 127.0.0.1 --port "$HOLDER_P2P" \
    --authrpc.port "$HOLDER_ENGINE" --http.port "$HOLDER_HTTP" --bootnode "$2" $(only "$1") \
    >"$WORK/holder-$1.log" 2>&1 &
  holder_pid=$!
  until_true 60 test -s "$WORK/holder/enode"
}

only() {
  case $1 in
    v4) echo --discovery.v5 no --discovery.dns none ;;
    v5) echo --discovery.v4 no --discovery.dns none ;;
  esac
}

import_chain() { "$MOORLINE" chain import --chain "$GENESIS" --datadir "$WORK/holder" "$CHAIN"; }

# sync_by VERSION BOOTNODE: knows the bootnode, and nobody else.
sync_by() {
  local dir=$WORK/seeker-$1
  # shellcheck disable=SC2046 # several words
  timeout "$SYNC_TIMEOUT_S" "$MOORLINE" sync --chain "$GENESIS" --head "$HEAD_HASH" --addr 127.0.0.1 \
    --bootnode "$2" $(only "$1") --datadir "$dir" --json >"$dir.json" || { echo "moorline sync ended with $?"; return 1; }
  cat "$dir.json"
  node -e '
    const [file, number, hash] = process.argv.slice(1)
    const { ok, blocks, head } = JSON.parse(require("fs").readFileSync(file))
    const right = ok === true && blocks === +number && head.number === +number && head.hash === hash
    if (!right) { console.error("the summary is not that of", number, "blocks up to", hash); process.exit(1) }
  ' "$dir.json" "$HEAD_NUMBER" "$HEAD_HASH" &&
    "$MOORLINE" chain export --datadir "$dir" "$dir.rlp" && cmp "$dir.rlp" "$CHAIN"
}

bootnode_has_nothing() { [ "$(rpc "http://127.0.0.1:$GETH_HTTP" eth_blockNumber '[]')" = 0x0 ]; }

check "geth 1.17.5 is installed" "$HERE/peers.sh" install geth-1.17.5 || { closing; exit 1; }
check "the holder has the chain" import_chain || { closing; exit 1; }
for version in v4 v5; do
  check "a bootnode that speaks disc$version only" start_geth "$version" || { stop; continue; }
  case $version in v4) field=enode ;; v5) field=enr ;; esac
  bootnode=$(rpc "http://127.0.0.1:$GETH_HTTP" admin_nodeInfo '[]' "$field")
  check "a holder that knows it, by disc$version" start_holder "$version" "$bootnode" &&
    check "the chain is found two hops away and synced by disc$version" sync_by "$version" "$bootnode" &&
    check "the bootnode of disc$version had none of it" bootnode_has_nothing
  stop
done
closing
