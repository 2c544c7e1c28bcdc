#!/usr/bin/env bash
# What a sync takes, measured on `moorline sync` in a process of its own; `moorline chain serve` is the peers.
#
#   gaps     blocks/s, peak memory, bytes written for a byte of blocks, and the export compared with the chain
#   peers    blocks/s of 8 peers over those of 1, in turns, where an answer takes 50 ms
#   headers  time until the last header is proved, over what the requests cannot take less than
#
# Options by environment: BLOCKS_SMALL, BLOCKS_MAINNET, RUNS (of each side; medians are printed), PARTS.
set -euo pipefail
cd "$(dirname "$0")/../.."
small=${BLOCKS_SMALL:-100000} mainnet=${BLOCKS_MAINNET:-20000} runs=${RUNS:-3} parts=${PARTS:-gaps peers headers}
answer_ms=50 most_headers=512
moorline=${CARGO_TARGET_DIR:-$PWD/target}/release/moorline
cargo build --release -q
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT

generate() { # profile, blocks
  [ -e "$dir/$1.rlp" ] ||
    "$moorline" chain generate --blocks "$2" --profile "$1" --genesis "$dir/genesis.json" "$dir/$1.rlp" 2>/dev/null
}
serve() { # profile, how many peers, options
  : >"$dir/enodes" >"$dir/serve.log"
  "$moorline" chain serve --chain "$dir/genesis.json" --peers "$2" "${@:3}" "$dir/$1.rlp" \
    >"$dir/enodes" 2>"$dir/serve.log" &
  server=$!
  until [ "$(wc -l <"$dir/enodes")" -eq "$2" ]; do
    kill -0 $server || { cat "$dir/serve.log"; exit 1; }
    sleep 0.1
  done
  head=$(grep -o '(0x[0-9a-f]*)' "$dir/serve.log" | tr -d '()')
}
stop_serving() { kill $server && wait $server || true; }
run() { # how many of the peers
  rm -rf "$dir/copy"
  local peers
  mapfile -t peers < <(head -n "$1" "$dir/enodes" | sed 's/^/--peer=/')
  "$moorline" sync --chain "$dir/genesis.json" --datadir "$dir/copy" --head "$head" "${peers[@]}" --json \
    2>"$dir/sync.log" >"$dir/summary.json" || { cat "$dir/sync.log"; exit 1; }
}
field() { grep -o "\"$1\":[0-9.]*" "$dir/summary.json" | head -1 | cut -d: -f2; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
missed=0
bound() { # what, figure, "<=" or ">=", bound
  awk -v a="$2" -v b="$4" -v least="$3" 'BEGIN { exit !(least == ">=" ? a >= b : a <= b) }' ||
    { echo "$1 is $2, and should be $3 $4" >&2; missed=1; }
}
over() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

gap() { # profile, blocks
  generate "$1" "$2"
  serve "$1" 8
  run 8
  stop_serving
  local exported=differs blocks_bytes
  blocks_bytes=$(stat -c %s "$dir/$1.rlp")
  "$moorline" chain export --datadir "$dir/copy" /dev/stdout 2>/dev/null | cmp - "$dir/$1.rlp" && exported=equal
  echo "| $2 $1 blocks from 8 peers | $(field blocks_per_s) blocks/s | $(($(field peak_rss_bytes) >> 20)) MiB |" \
    "$(over "$(field written_bytes)" "$blocks_bytes") | $exported |"
  [ $exported = equal ]
  bound "peak memory in MiB" "$(($(field peak_rss_bytes) >> 20))" '<=' 512
  bound "written over blocks" "$(over "$(field written_bytes)" "$blocks_bytes")" '<=' 1.5
}

peers() { # option that makes an answer take its time
  serve small 8 "$1" $answer_ms
  rm -f "$dir"/rate-*
  for _ in $(seq "$runs"); do
    for count in 1 8; do
      run $count
      field blocks_per_s >>"$dir/rate-$count"
    done
  done
  stop_serving
  local one eight
  one=$(median <"$dir/rate-1") eight=$(median <"$dir/rate-8")
  echo "| $small small blocks, $1 $answer_ms | $one blocks/s | $eight blocks/s | $(over "$eight" "$one") |"
  # answers that overlap on the way leave one peer little to wait for
  [ "$1" = --delay-ms ] || bound "8 peers over 1" "$(over "$eight" "$one")" '>=' 6
}

headers() { # profile
  generate "$1" "$small"
  serve "$1" 8 --work-ms $answer_ms
  rm -f "$dir/headers"
  for _ in $(seq "$runs"); do
    run 8
    field headers_elapsed_ms >>"$dir/headers"
  done
  stop_serving
  local requests least took
  requests=$(((small + most_headers - 1) / most_headers))
  least=$(((requests + 7) / 8 * answer_ms)) took=$(median <"$dir/headers")
  echo "| headers of $small $1 blocks, --work-ms $answer_ms | $took ms | $least ms | $(over "$took" "$least") |"
  bound "headers over what is unavoidable" "$(over "$took" "$least")" '<=' 1.5
}

for part in $parts; do
  case $part in
    gaps)
      echo '| gap | speed | peak memory | written / blocks | export |'
      gap small "$small"
      gap mainnet "$mainnet"
      rm -rf "$dir/mainnet.rlp" "$dir/copy"
      ;;
    peers)
      generate small "$small"
      echo '| peers | 1 peer | 8 peers | ratio |'
      peers --work-ms
      peers --delay-ms
      ;;
    headers)
      echo '| headers | took | cannot take less | ratio |'
      headers empty
      headers small
      ;;
  esac
done
exit $missed
