# Sourced by the scripts that count what passes. WORK is the directory for logs.
passed=0 failed=0

# check NAME COMMAND...: runs the command with its output in a log, and counts.
check() {
  local name=$1 log started=$SECONDS; shift
  log="$WORK/$(tr -c 'A-Za-z0-9.\n' - <<<"$name").log"
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "PASS $name ($((SECONDS - started)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL $name ($((SECONDS - started)) s), from $log:"
    tail -n 15 "$log" | sed 's/^/     /'
    return 1
  fi
}

# until_true SECONDS COMMAND...: tries twice a second until the command succeeds.
until_true() {
  local deadline=$((SECONDS + $1)); shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || { echo "gave up: $*"; return 1; }
    sleep 0.5
  done
}

closing() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
