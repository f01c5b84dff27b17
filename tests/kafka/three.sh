#!/usr/bin/env bash
# A job on a cluster of three brokers, of which one after the other is killed and started again, while clicks come in. At the end everything that
# was written must have been relayed once. It prints how many commits a second there are before, while a broker is down, and after: one that
# is down costs the seconds until the others miss it, and nothing more. Not part of tests/run.sh.
#
#   tests/kafka/three.sh [ROUNDS]      a minute a round, 2 rounds unless said otherwise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-2}
first=${BROKER_PORT:-9592}
ports=("$first" $((first + 10)) $((first + 20)))
export BROKER_HOME=${BROKER_HOME:-.kafka/three} BROKER_COPIES=3
metrics=127.0.0.1:$((first + 30))
cargo build --release --locked --example load --example relay
bin=${CARGO_TARGET_DIR:-target}/release/examples
state=$(mktemp -d)
job=
load=
broker() { # number command
  local joins=$first
  [ "$1" -gt 0 ] || joins=
  BROKER_PORT=${ports[$1]} BROKER_JOINS=$joins tests/kafka/broker.sh "$2"
}
leave() {
  [ -z "$job" ] || kill -KILL "$job" 2>/dev/null || true
  [ -z "$load" ] || kill -KILL "$load" 2>/dev/null || true
  for number in 2 1 0; do broker $number wipe; done
  rm -rf "$state"
}
trap leave EXIT
die() { printf 'three: %s\n' "$1" >&2; tail -n 20 "$state/said.txt" >&2; exit 1; }

for number in 0 1 2; do broker $number start; done >/dev/null
MILLPOND_BROKERS=$(printf ',127.0.0.1:%d' "${ports[@]}")
export MILLPOND_BROKERS=${MILLPOND_BROKERS:1}
"$bin/load" --count 1000 >/dev/null
"$bin/load" --live --rate 500 --skip 1000 >/dev/null 2>"$state/load.txt" &
load=$!
"$bin/relay" run --state "$state" --checkpoint-interval 100ms --metrics "$metrics" >"$state/said.txt" 2>&1 &
job=$!
commits() { curl -fs "http://$metrics/metrics" 2>/dev/null | sed -n 's/^millpond_commits_total //p' || true; }
rate() { # what; over five seconds
  local before after
  before=$(commits)
  sleep 5
  after=$(commits)
  [ -n "$after" ] || die "the job has ended by itself"
  printf '%s: %d commits in 5 s\n' "$1" $((after - ${before:-0}))
}

for _ in $(seq 1 300); do [ -n "$(commits)" ] && break; sleep 0.1; done
sleep 3
for round in $(seq 1 "$rounds"); do
  # The first is the only controller: without it the others do not elect leaders.
  for number in 1 2; do
    echo "round $round"
    rate "all are there"
    broker $number kill9
    rate "broker $number was killed"
    rate "broker $number is down"
    rate "broker $number is down"
    broker $number start >/dev/null
    rate "broker $number is back"
  done
done
kill -TERM "$load"
wait "$load" || true
load=
sleep 5
kill -TERM "$job"
wait "$job" || die "the job does not end well"
job=

# The oracle: the same relay over the same input, undisturbed, to other places.
"$bin/relay" run --until-end --job oracle --output oracle --state "$state" >>"$state/said.txt" 2>&1 || die "the oracle fails"
export BROKER_PORT=$first
for topic in relayed oracle; do
  BROKER_WAIT_MS=15000 tests/kafka/broker.sh read "$topic" 2>/dev/null | sort >"$state/$topic.txt"
done
[ -s "$state/oracle.txt" ] || die "nothing was relayed"
cmp "$state/relayed.txt" "$state/oracle.txt" || die "what was relayed is not what an undisturbed job relays"
echo "three: $(wc -l <"$state/relayed.txt") relayed, each once"
