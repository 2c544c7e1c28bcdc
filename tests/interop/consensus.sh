#!/usr/bin/env bash
# Tries Moorline under a consensus client that others wrote.
#
#   consensus.sh [MOORLINE]
#
# Lodestar drives ethereumjs through a tee that tells Moorline the same, and Moorline fetches from
# ethereumjs. MOORLINE is the binary (default: target/release/moorline). HEADS (30) is how many it has to
# follow; half-way it is killed. PORT_BASE (21300) moves the ports. Needs Node, npm, Python and a C++ compiler;
# installs the clients under .peers/.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
MOORLINE=${1:-$ROOT/target/release/moorline}
HEADS=${HEADS:-30}
LATE_BLOCKS=8
MISSED_BLOCKS=3
SLOT_S=3
# below the ports that systems give to outgoing connections
PORT_BASE=${PORT_BASE:-21300}
export PORT_BASE

if [ ! -x "$MOORLINE" ]; then
  echo "there is no binary at $MOORLINE; build it with: cargo build --release" >&2
  exit 2
fi

MOORLINE=$(realpath "$MOORLINE")
EXECUTION=ethereumjs@consensus
GENESIS=$HERE/lodestar/genesis.json
PEERS=$ROOT/.peers
NODE_P2P=$((PORT_BASE + 910))
NODE_ENGINE=$((PORT_BASE + 911))
NODE_HTTP=$((PORT_BASE + 912))
NODE_METRICS=$((PORT_BASE + 913))
TEE=$((PORT_BASE + 914))
LODESTAR_REST=$((PORT_BASE + 915))
LODESTAR_P2P=$((PORT_BASE + 916))

WORK=$PEERS/consensus
rm -rf "$WORK" && mkdir -p "$WORK"
NODE_DIR=$WORK/node && mkdir "$NODE_DIR"
CALLS=$WORK/calls.jsonl
JWT=$WORK/jwt.hex
printf '%064x\n' 4276992622 >"$JWT"
export ENGINE_JWT=$JWT

# shellcheck source=checks.sh
. "$HERE/checks.sh"

node_pid='' tee_pid='' lodestar_pid='' sender_pid=''
peers() { "$HERE/peers.sh" "$@"; }
rpc() { node "$HERE/rpc.mjs" "$@"; }
watch() { node "$HERE/lodestar/watch.mjs" "$1" "$CALLS" "${@:2}"; }
# shellcheck disable=SC2120 # most have no more to say
watch_node() { watch "$1" "http://127.0.0.1:$NODE_HTTP" "$EXECUTION_URL" "${@:2}"; }

kill_hard() {
  [ -n "$1" ] || return 0
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

cleanup() {
  kill_hard "$node_pid"
  kill_hard "$sender_pid"
  kill_hard "$lodestar_pid"
  kill_hard "$tee_pid"
  peers stop "$EXECUTION"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_execution() { peers start "$EXECUTION" "$GENESIS" | tee "$WORK/enode"; [ -s "$WORK/enode" ]; }

start_tee() {
  node "$HERE/lodestar/tee.mjs" "$TEE" "$(peers engine "$EXECUTION")" "http://127.0.0.1:$NODE_ENGINE" "$CALLS" >"$WORK/tee.log" 2>&1 &
  tee_pid=$!
}

# The minimal preset has epochs of eight slots, so that something is finalized within two minutes. NODE_BACKEND
# has bcrypto do without the library that it would have to compile.
start_lodestar() {
  local genesis_hash; genesis_hash=$(rpc "$EXECUTION_URL" eth_getBlockByNumber '["0x0", false]' hash)
  (
    cd "$WORK" || exit 1
    LODESTAR_PRESET=minimal NODE_BACKEND=js exec node --import "$HERE/ethereumjs/loopback.mjs" --import "$HERE/lodestar/node20.mjs" \
      "$PEERS/lodestar/node_modules/@chainsafe/lodestar/lib/index.js" dev --dataDir "$WORK/lodestar" --reset \
      --genesisValidators 8 --startValidators 0..7 --genesisEth1Hash "$genesis_hash" --genesisTime $(($(date +%s) + 15)) \
      --params.ALTAIR_FORK_EPOCH 0 --params.BELLATRIX_FORK_EPOCH 0 --params.CAPELLA_FORK_EPOCH 0 \
      --params.TERMINAL_TOTAL_DIFFICULTY 0 --terminal-total-difficulty-override 0 --params.SECONDS_PER_SLOT "$SLOT_S" \
      --eth1 false --execution.urls "http://127.0.0.1:$TEE" --jwt-secret "$JWT" \
      --suggestedFeeRecipient 0x00000000000000000000000000000000000000fe \
      --rest.address 127.0.0.1 --rest.port "$LODESTAR_REST" --server "http://127.0.0.1:$LODESTAR_REST" \
      --listenAddress 127.0.0.1 --port "$LODESTAR_P2P" --discv5 false --network.connectToDiscv5Bootnodes false \
      --targetPeers 0 --sync.isSingleNode --network.allowPublishToZeroPeers >lodestar.log 2>&1
  ) &
  lodestar_pid=$!
}

start_sender() {
  node "$HERE/lodestar/sender.mjs" send "$PEERS/ethereumjs" "$EXECUTION_URL" >"$WORK/sender.log" 2>&1 &
  sender_pid=$!
}

# start_node RUN: the log and the trace of each run are its own.
start_node() {
  "$MOORLINE" node --chain "$GENESIS" --datadir "$NODE_DIR" --peer "$(cat "$WORK/enode")" --addr 127.0.0.1 \
    --port "$NODE_P2P" --authrpc.port "$NODE_ENGINE" --authrpc.jwtsecret "$JWT" --http.port "$NODE_HTTP" \
    --metrics.port "$NODE_METRICS" --trace "$WORK/trace-$1" >"$WORK/node-$1.log" 2>&1 &
  node_pid=$!
  until_true 30 node_is_up && watch mark up
}

node_is_up() { kill -0 "$node_pid" && rpc "http://127.0.0.1:$NODE_HTTP" eth_chainId '[]'; }

kill_node() {
  watch mark down
  kill_hard "$node_pid"
  node_pid=
}

stop_node() {
  kill "$node_pid"
  until_true 15 node_is_gone || return 1
  wait "$node_pid"
  local code=$?
  node_pid=
  return $code
}

node_is_gone() { ! kill -0 "$node_pid" 2>/dev/null; }

lodestar_drives() {
  until_true 60 execution_is_at 1 || { tail -n 15 "$WORK/lodestar.log"; return 1; }
  until_true $((SLOT_S * $1 * 3)) execution_is_at "$1"
}

execution_is_at() {
  [ $(($(rpc "$EXECUTION_URL" eth_blockNumber '[]'))) -ge "$1" ]
}

execution_goes_on() {
  local from; from=$(($(rpc "$EXECUTION_URL" eth_blockNumber '[]')))
  until_true $((SLOT_S * $1 * 3)) execution_is_at $((from + $1))
}

# metric NAME [PART]: the sum of the series of this name whose labels have this part.
metric() {
  node -e '
    const [url, name, part = ""] = process.argv.slice(1)
    fetch(url, { signal: AbortSignal.timeout(5000) }).then((response) => response.text()).then((text) => {
      const series = text.split("\n").filter((line) => line.startsWith(name) && line.includes(part))
      console.log(series.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0))
    })' "http://127.0.0.1:$NODE_METRICS/metrics" "$@"
}

# fetched_and_never_failed BLOCKS: so many headers, and bodies too.
fetched_and_never_failed() {
  local served restarts failures id; id=$(sed 's#enode://##' "$WORK/enode" | cut -c1-16)
  served=$(metric moorline_peer_served_items_total "peer=\"$id\"") && restarts=$(metric moorline_actor_restarts_total) &&
    failures=$(metric moorline_store_failures_total) || return 1
  echo "ethereumjs served $served headers and bodies; $restarts actors were rebuilt, $failures writes failed"
  [ "$served" -gt "$1" ] && [ "$restarts" -eq 0 ] && [ "$failures" -eq 0 ]
}

nothing_to_complain() { ! grep -hE ' (WARN|ERROR) ' "$WORK"/node-*.log; }

nobody_tried_to_leave() { ! grep -h 'refused: ' "$PEERS/run/$EXECUTION/log" "$WORK/lodestar.log"; }

check "ethereumjs is installed and starts" start_execution || exit 1
EXECUTION_URL=$(peers rpc "$EXECUTION")
check "lodestar is installed" peers install lodestar || exit 1
start_tee
start_lodestar
start_sender

if check "lodestar drives ethereumjs to block $LATE_BLOCKS" lodestar_drives $LATE_BLOCKS &&
  check "moorline starts" start_node 1 && check "it catches up" until_true 30 watch_node caught-up; then
  check "it follows $((HEADS / 2)) heads" watch_node follow $((HEADS / 2))
  check "it fetched from ethereumjs, and no actor failed" fetched_and_never_failed $LATE_BLOCKS
  kill_node
  check "the chain goes on without it" execution_goes_on $MISSED_BLOCKS
  check "moorline starts after kill -9" start_node 2
  check "it catches up again" until_true 30 watch_node caught-up
  check "it follows $((HEADS - HEADS / 2)) more heads" watch_node follow $((HEADS - HEADS / 2))
  check "it shows the safe and the finalized block" until_true 60 watch_node checkpoints
  check "no actor failed after the restart" fetched_and_never_failed $MISSED_BLOCKS
  kill_hard "$lodestar_pid"
  check "it is where the consensus client left it" until_true 10 watch_node caught-up
  check "its chain is that of ethereumjs" watch_node chain
  check "it answered every call, in time, and never VALID" watch calls
  check "it stops" stop_node
  check "its store is sound" timeout 60 "$MOORLINE" db check --chain "$GENESIS" --datadir "$NODE_DIR"
  check "its trace has lost nothing" timeout 60 "$MOORLINE" trace check "$WORK/trace-2"
  check "its log has no warning" nothing_to_complain
fi
check "nobody tried to leave this machine" nobody_tried_to_leave

closing
