#!/usr/bin/env bash
# Installs, starts and stops the clients that Moorline is tried against. Everything they own lives
# under .peers/ of the checkout; every socket they open is on 127.0.0.1.
#
#   peers.sh install PEER                   install it, unless it is there
#   peers.sh start   PEER GENESIS [CHAIN]   start it with a genesis.json and a chain.rlp; prints its enode
#   peers.sh rpc     PEER                   print the address of its JSON-RPC server
#   peers.sh engine  PEER                   print the address of its Engine API
#   peers.sh stop    PEER...                kill it
#
# PEER is geth-1.17.5, geth-1.16.7, ethereumjs, or one of these with "@" and a name of your own for a
# second instance, as in geth-1.17.5@empty; lodestar, a consensus client, can only be installed. PORT_BASE
# (21300) moves the ports. With ENGINE_JWT naming a secret, ethereumjs takes a consensus client.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PEERS=${PEERS:-$(cd "$HERE/../.." && pwd)/.peers}
# below the ports that systems give to outgoing connections
PORT_BASE=${PORT_BASE:-21300}
READY_TIMEOUT_S=${READY_TIMEOUT_S:-180}

fail() { echo "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is needed to $2, and is not installed"; }
client_of() { echo "${1%%@*}"; }
run_dir() { echo "$PEERS/run/$1"; }

# Three ports for each instance: devp2p, JSON-RPC, Engine API.
slot_of() {
  case $1 in
    geth-1.17.5) echo 0 ;;
    geth-1.16.7) echo 10 ;;
    ethereumjs) echo 20 ;;
    *@*) echo $((100 + $(cksum <<<"$1" | cut -d' ' -f1) % 40 * 10)) ;;
    *) fail "there is no peer $1; choose geth-1.17.5, geth-1.16.7 or ethereumjs" ;;
  esac
}
p2p_port() { echo $((PORT_BASE + $(slot_of "$1"))); }
rpc_port() { echo $((PORT_BASE + $(slot_of "$1") + 1)); }
engine_port() { echo $((PORT_BASE + $(slot_of "$1") + 2)); }

# The same key at every start, so that the enode is known.
node_key() { printf 'moorline interop %s' "$1" | sha256sum | cut -d' ' -f1; }

install_peer() {
  local client; client=$(client_of "$1")
  case $client in
    geth-1.17.5 | geth-1.16.7)
      [ -x "$PEERS/$client/geth" ] && return
      need go "build $client"
      mkdir -p "$PEERS/$client"
      GOBIN="$PEERS/$client" go install "github.com/ethereum/go-ethereum/cmd/geth@v${client#geth-}" >&2
      ;;
    ethereumjs | lodestar)
      need npm "install $client"
      cmp -s "$HERE/$client/package-lock.json" "$PEERS/$client/installed-lock.json" && return
      mkdir -p "$PEERS/$client"
      cp "$HERE/$client"/package.json "$HERE/$client"/package-lock.json "$PEERS/$client/"
      (cd "$PEERS/$client" && npm ci --ignore-scripts --no-audit --no-fund >&2)
      [ "$client" != lodestar ] || build_snappy
      cp "$HERE/$client/package-lock.json" "$PEERS/$client/installed-lock.json"
      ;;
    *) fail "there is no peer $1; choose geth-1.17.5, geth-1.16.7, ethereumjs or lodestar" ;;
  esac
}

# The one install script that Lodestar cannot do without, and only the part of it that downloads nothing:
# the headers are those that came with Node.
build_snappy() {
  need c++ "install lodestar"
  need python3 "install lodestar"
  (cd "$PEERS/lodestar/node_modules/snappy" && node ../node-gyp/bin/node-gyp.js rebuild \
    --nodedir="$(node -p 'path.resolve(process.execPath, "../..")')" >&2)
}

start_geth() {
  local peer=$1 genesis=$2 chain=${3:-} dir geth
  dir=$(run_dir "$peer") geth="$PEERS/$(client_of "$peer")/geth"
  "$geth" init --datadir "$dir/data" "$genesis" >>"$dir/log" 2>&1 || fail "geth cannot read $genesis; see $dir/log"
  if [ -n "$chain" ]; then
    "$geth" import --datadir "$dir/data" "$chain" >>"$dir/log" 2>&1 || fail "geth cannot import $chain; see $dir/log"
  fi
  # --port would listen on every interface; only the file can name one
  cat >"$dir/config.toml" <<TOML
[Node.P2P]
ListenAddr = "127.0.0.1:$(p2p_port "$peer")"
TOML
  exec "$geth" --config "$dir/config.toml" --datadir "$dir/data" --ipcdisable \
    --nodiscover --nat none --netrestrict 127.0.0.0/8 --nodekeyhex "$(node_key "$peer")" \
    --syncmode full --cache 128 --maxpeers 16 \
    --http --http.addr 127.0.0.1 --http.port "$(rpc_port "$peer")" --http.api admin,eth,net,web3 \
    --authrpc.addr 127.0.0.1 --authrpc.port "$(engine_port "$peer")" >>"$dir/log" 2>&1
}

start_ethereumjs() {
  local peer=$1 genesis=$2 chain=${3:-} dir client engine=()
  dir=$(run_dir "$peer") client="$PEERS/ethereumjs/node_modules/@ethereumjs/client/dist/esm/bin/cli.js"
  # the client names its folder after the genesis file
  cp "$genesis" "$dir/genesis.json"
  node "$HERE/ethereumjs/seed-key.mjs" "$PEERS/ethereumjs" "$dir/data/genesis/config" "$(node_key "$peer")"
  if [ -n "${ENGINE_JWT:-}" ]; then
    # --isSingleNode: it builds blocks although it has no peer that is ahead of it
    engine=(--rpcEngine --rpcEngineAddr=127.0.0.1 --rpcEnginePort="$(engine_port "$peer")" --jwtSecret="$ENGINE_JWT" --isSingleNode)
  fi
  exec node --import "$HERE/ethereumjs/loopback.mjs" "$client" \
    --gethGenesis="$dir/genesis.json" --dataDir="$dir/data" --no-logFile \
    --discV4=false --discDns=false --extIP=127.0.0.1 --port="$(p2p_port "$peer")" \
    --rpc --rpcAddr=127.0.0.1 --rpcPort="$(rpc_port "$peer")" \
    "${engine[@]}" ${chain:+--loadBlocksFromRlp="$chain"} >>"$dir/log" 2>&1
}

is_up() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_peer() {
  local peer=$1 dir pid enode
  need node "talk to $peer"
  dir=$(run_dir "$peer")
  stop_peer "$peer"
  rm -rf "$dir" && mkdir -p "$dir"
  if is_up "$(p2p_port "$peer")"; then fail "port $(p2p_port "$peer") is in use; set PORT_BASE to another"; fi
  case $peer in
    geth-*) start_geth "$@" & ;;
    ethereumjs*) start_ethereumjs "$@" & ;;
  esac
  pid=$!
  echo "$pid" >"$dir/pid"
  for ((tenths = 0; tenths < READY_TIMEOUT_S * 10; tenths++)); do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$dir/log" >&2; fail "$peer ended before it was ready"; }
    if is_up "$(p2p_port "$peer")" && is_up "$(rpc_port "$peer")"; then
      enode=$(node "$HERE/rpc.mjs" "$(rpc_url "$peer")" admin_nodeInfo '[]' enode 2>/dev/null) || { sleep 0.2; continue; }
      echo "${enode%%\?*}"
      return
    fi
    sleep 0.1
  done
  stop_peer "$peer"
  fail "$peer was not ready after $READY_TIMEOUT_S s; see $dir/log"
}

rpc_url() { echo "http://127.0.0.1:$(rpc_port "$1")"; }
engine_url() { echo "http://127.0.0.1:$(engine_port "$1")"; }

stop_peer() {
  local file pid; file=$(run_dir "$1")/pid
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  # SIGTERM takes one of them ten seconds, during which it holds its ports
  kill -KILL "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -f "$file"
}

main() {
  local command=${1:-}
  case $command in
    install | start | rpc | engine) [ $# -ge 2 ] || fail "which peer? geth-1.17.5, geth-1.16.7 or ethereumjs" ;;
  esac
  case $command in
    install) install_peer "$2" ;;
    start)
      [ $# -ge 3 ] || fail "usage: peers.sh start PEER GENESIS [CHAIN]"
      install_peer "$2" && start_peer "${@:2}"
      ;;
    rpc) rpc_url "$2" ;;
    engine) engine_url "$2" ;;
    stop) for peer in "${@:2}"; do stop_peer "$peer"; done ;;
    *) fail "usage: peers.sh install|start|rpc|engine|stop PEER ..." ;;
  esac
}

main "$@"
