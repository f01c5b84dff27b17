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

closed() { # command...: whoever reads what it prints has gone before it does
  (sleep 0.3; exec "$@" 2>err.txt) | true
  local codes=("${PIPESTATUS[@]}")
  [ "${codes[0]}" = 0 ] || { echo "exit code ${codes[0]} when nobody reads: $*"; cat err.txt; exit 1; }
  echo "ok: $(basename "$1") ${*:2} | true"
}

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
says 'there is no log in .millpond/log' not "$examples/log" topics
says 'three records were committed' "$examples/log"
says 'greetings: 1 partition,' "$examples/log" topics
says 'All clicks are counted' "$examples/page_views"
says 'is finished' "$examples/page_views"
says 'in topic relayed' "$examples/relay"
says 'is finished' "$examples/relay"
for example in flights word_count page_views relay log; do closed "$examples/$example"; done
rm -r .millpond/sensors .millpond/relay
for example in sensors relay; do closed "$examples/$example"; done
rm -r .millpond/page_views .millpond/relay
closed "$examples/load" --log closed/log --count 10
[ "$(uname -s)" != Linux ] || says 'Begin jemalloc statistics' env MALLOC_CONF=stats_print:true "$examples/word_count" plan
says 'load -- --log' not "$examples/page_views" run --until-end
says 'page_views -- run --state' "$examples/load" --log views/log --count 5000
says '2000 clicks were generated' "$examples/page_views" run --until-end --generate 2000 --state same
says '2000 clicks written' "$examples/load" --log alike/log --count 2000
for state in same alike; do # all but the time of appending
  "$examples/log" --log $state/log read clicks >$state.txt
done
cmp same.txt alike.txt || { echo "page_views generates other clicks than load writes"; exit 1; }
says 'All clicks are counted' "$examples/page_views" run --until-end --state views
# Records that are no clicks, as docs/dead-letters.md walks through it; nobody mends the job here, so those that are sent again fail again.
says '10000 clicks written' "$examples/load" --log refused/log --count 10000 --garbage 2500
says 'missing field `dwell`' not "$examples/page_views" run --until-caught-up --state refused
export MILLPOND_STATE=garbage
says '10000 clicks written' "$examples/load" --log garbage/log --count 10000 --garbage 2500
export MILLPOND_DEAD_LETTERS=clicks-dead
says '10 late, 4 bad' "$examples/page_views" run --until-caught-up
says 'clicks/0/1246 ' "$examples/page_views" dead-letters list
says '^value *{"user":"u20071","page":"p181","at":1700001796922}$' "$examples/page_views" dead-letters show 0:0
says 'dropped 1 of 1' "$examples/page_views" dead-letters drop 0:1 --yes
says 'asked for 3 of 3' "$examples/page_views" dead-letters redrive --all --yes
says '0 late, 3 bad' "$examples/page_views" run --until-caught-up
says '3 open, 3 failed-again, 1 dropped' "$examples/page_views" dead-letters list
unset MILLPOND_STATE MILLPOND_DEAD_LETTERS
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
