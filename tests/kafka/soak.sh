#!/usr/bin/env bash
# Half an hour of a job on a broker that is treated badly: killed, paused, away for two minutes at a time, while clicks come in and the job
# itself is killed too. At the end everything that was written must have been relayed once. Not part of tests/run.sh.
#
#   tests/kafka/soak.sh [ROUNDS]      three minutes a round, 8 rounds unless said otherwise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-8}
export BROKER_PORT=${BROKER_PORT:-9492} BROKER_HOME=${BROKER_HOME:-.kafka/soak}
broker=tests/kafka/broker.sh
cargo build --release --locked --example load --example relay
bin=${CARGO_TARGET_DIR:-target}/release/examples
state=$(mktemp -d)
job=
load=
leave() {
  [ -z "$job" ] || kill -KILL "$job" 2>/dev/null || true
  [ -z "$load" ] || kill -KILL "$load" 2>/dev/null || true
  $broker wipe
  rm -rf "$state"
}
trap leave EXIT
export MILLPOND_BROKERS
MILLPOND_BROKERS=$($broker start)

run() {
  "$bin/relay" run --state "$state" --checkpoint-interval 200ms >>"$state/said.txt" 2>&1 &
  job=$!
}
die() { printf 'soak: %s\n' "$1" >&2; tail -n 20 "$state/said.txt" >&2; exit 1; }
living() { kill -0 "$job" 2>/dev/null || die "the job has ended by itself"; }
write() { # clicks of a round; the broker must be there
  "$bin/load" --count 20000 --skip $((written)) --rate 2000 >/dev/null
  written=$((written + 20000))
}
write_beside() { # the same, while other things happen
  "$bin/load" --count 20000 --skip $((written)) --rate 2000 >/dev/null &
  load=$!
  written=$((written + 20000))
}
written_beside() {
  wait "$load" || die "clicks are lost before they are written"
  load=
}

started() { # a job that is still starting may give up on a broker that is away
  for _ in $(seq 1 300); do
    living
    "$bin/relay" status --state "$state" --json 2>/dev/null | grep -q '"state": *"running"' && return 0
    sleep 0.1
  done
  die "the job does not come to run"
}

written=0
write
run
for round in $(seq 1 "$rounds"); do
  started
  echo "round $round: the broker is away for two minutes"
  $broker stop
  sleep 120
  living
  "$bin/relay" status --state "$state" >"$state/status.txt"
  grep waiting "$state/status.txt" || die "the status does not say that the broker is away"
  $broker start >/dev/null
  write
  echo "round $round: the broker is killed, then paused for twenty seconds, while clicks come in"
  write_beside
  sleep 3
  $broker kill9
  $broker start >/dev/null
  sleep 2
  $broker pause
  sleep 20
  $broker resume
  written_beside
  living
  echo "round $round: the job is killed while clicks come in"
  write_beside
  for _ in 1 2 3; do
    sleep 3
    kill -KILL "$job"
    wait "$job" 2>/dev/null || true
    run
  done
  written_beside
done
sleep 10
kill -TERM "$job"
wait "$job" || die "the job does not end well"
job=

# The oracle: the same relay over the same input, undisturbed, to other places.
"$bin/relay" run --until-end --job oracle --output oracle --state "$state" >>"$state/said.txt" 2>&1 || die "the oracle fails"
for topic in relayed oracle; do
  BROKER_WAIT_MS=15000 $broker read "$topic" 2>/dev/null | sort >"$state/$topic.txt"
done
[ -s "$state/oracle.txt" ] || die "nothing was relayed"
cmp "$state/relayed.txt" "$state/oracle.txt" || die "what was relayed is not what an undisturbed job relays"
echo "soak: $written clicks, $(wc -l <"$state/relayed.txt") relayed, each once"
