#!/usr/bin/env bash
# Each example once, as the README calls it: without arguments, in a fresh state, with a look at what it says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# As people build them: what depends on debug assertions, in a crate that is used here too, shows nowhere else.
cargo build --release --locked --examples
examples=$PWD/${CARGO_TARGET_DIR:-target}/release/examples
[ -d "$examples" ] || examples=$CARGO_TARGET_DIR/release/examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

says() { # text command...
  local text=$1; shift
  "$@" >out.txt 2>&1 </dev/null || { echo "failed: $*"; cat out.txt; exit 1; }
  grep -q -- "$text" out.txt || { echo "does not say '$text': $*"; cat out.txt; exit 1; }
  echo "ok: $(basename "$1") ${*:2}"
}

not() { ! "$@"; }

says 'The month is complete' "$examples/flights"
says 'was finished before' "$examples/flights"
says 'tumbling' "$examples/flights" plan
says 'finished' "$examples/flights" status
says 'committed' "$examples/flights" checkpoints list
says 'sound' "$examples/flights" checkpoints verify
says 'nothing in the plan' "$examples/flights" replay 2 --check
says '1 .*finished, live' "$examples/flights" versions
says '{"origin":"EWR"' "$examples/log" --log .millpond/flights/log read departures-per-hour
says 'wheel' "$examples/word_count"
says '{"late":{' "$examples/sensors"
says '' "$examples/log"
[ "$(uname -s)" != Linux ] || says 'Begin jemalloc statistics' env MALLOC_CONF=stats_print:true "$examples/word_count" plan
says 'load -- --log' not "$examples/page_views" run --until-end
says 'page_views -- run --state' "$examples/load" --log views/log --count 5000
says 'All clicks are counted' "$examples/page_views" run --until-end --state views
says '0 came twice, and 0 minutes are missing' bash "$root/examples/lifecycle.sh"

# Those on Kafka, as README's "With Kafka" calls them.
export BROKER_PORT=${BROKER_PORT:-9592} BROKER_HOME=$work/kafka
trap '"$root/tests/kafka/broker.sh" wipe; rm -rf "$work"' EXIT
export MILLPOND_BROKERS
MILLPOND_BROKERS=$("$root/tests/kafka/broker.sh" start)
says '100000 clicks written' "$examples/load"
says 'All clicks are counted' "$examples/page_views" run --until-end
says 'is finished' "$examples/page_views" run --until-end
says 'finished' "$examples/page_views" status
says '"views":' "$root/tests/kafka/broker.sh" read page-views
says '"user":' "$root/tests/kafka/broker.sh" read late-clicks
says 'broker.sh read relayed' "$examples/relay" run --until-end
says '0 came twice, and 0 minutes are missing' bash "$root/examples/lifecycle.sh" --brokers "$MILLPOND_BROKERS"
echo "all examples do what they say"
