#!/usr/bin/env bash
# Each example once, as the README calls it: without arguments, in a fresh state, with a look at what it says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --locked --examples
examples=$PWD/${CARGO_TARGET_DIR:-target}/debug/examples
[ -d "$examples" ] || examples=$CARGO_TARGET_DIR/debug/examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

says() { # text command...
  local text=$1; shift
  "$@" >out.txt 2>&1 </dev/null || { echo "failed: $*"; cat out.txt; exit 1; }
  grep -q -- "$text" out.txt || { echo "does not say '$text': $*"; cat out.txt; exit 1; }
  echo "ok: $(basename "$1") ${*:2}"
}

says 'The month is complete' "$examples/flights"
says 'was finished before' "$examples/flights"
says 'tumbling' "$examples/flights" plan
says 'finished' "$examples/flights" status
says 'committed' "$examples/flights" checkpoints list
says 'sound' "$examples/flights" checkpoints verify
says '{"origin":"EWR"' "$examples/log" --log .millpond/flights/log read departures-per-hour
says 'wheel' "$examples/word_count"
says '{"late":{' "$examples/sensors"
says '' "$examples/log"
echo "all examples do what they say"
