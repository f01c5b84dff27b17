#!/usr/bin/env bash
# The bench of jobs on Kafka: starts a broker of its own, runs `cargo bench --bench kafka` against it, and wipes it.
#
#   benches/kafka.sh                  everything, some 10 minutes
#   benches/kafka.sh replay           a version replayed beside a live one; with relay-poll relay-best beside those loops too
#   benches/kafka.sh views-one best   only what has one of these in its name; --rounds 1, --clicks N for a quick try
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export BROKER_PORT=${BROKER_PORT:-9392} BROKER_HOME=${BROKER_HOME:-.kafka/bench} BROKER_HEAP=${BROKER_HEAP:-1g}
cargo build --release --locked --example load --example page_views --example relay --example kafka_by_hand
cargo bench --locked --bench kafka --no-run
trap 'tests/kafka/broker.sh wipe' EXIT
brokers=$(tests/kafka/broker.sh start)
cargo bench --locked --bench kafka -- --brokers "$brokers" "$@"
