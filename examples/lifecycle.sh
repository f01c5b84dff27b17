#!/usr/bin/env bash
# The life of a job's versions, on the embedded log, with nothing installed: the real month of flights, and a second version that counts
# flights by when they left. Says what to look at. Everything lies in a directory of its own, which is removed at the end unless it is given.
#
#   bash examples/lifecycle.sh [STATE_DIRECTORY]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
state=${1:-$(mktemp -d)}
[ $# -ge 1 ] || trap 'rm -rf "$state"' EXIT
flights="${CARGO_TARGET_DIR:-target}/release/examples/flights"
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { printf '$ flights %s\n' "$*"; "$flights" "$@" --state "$state"; }

say "building"
cargo build --release --quiet --locked --example flights

say "Version 1 counts flights by the hour in which they should have left. It is the first, so it is live."
run run --until-end
run versions

say "Version 2 counts them by the hour in which they left. What could make a replay differ?"
run replay 2 --check

say "Version 2 from the beginning of the log, beside version 1: its own state, its own topics."
run replay 2 --until-end

say "What is different? A flight that was delayed counts in a later hour. The exit code is 2: nobody said that this is meant."
run compare 1 2 --only departures-per-hour --samples 3 || true

say "It is not promoted like that."
run promote 2 || true

say "So say what is meant: hours differ, in every column but the cancelled ones, and some are there in one version only."
cat > "$state/expect.json" <<'JSON'
{ "departures-per-hour": { "only_in_first": {}, "only_in_second": {}, "differing": { "least": 1 },
  "columns": ["departures", "total_delay_min", "max_delay_min"] } }
JSON
cat "$state/expect.json"
run compare 1 2 --only departures-per-hour --samples 0 --expect "$state/expect.json"

say "Promoted. Readers take rows before the switch from version 1, and from then on from version 2. Look at \"the live line\"."
run promote 2 --dry-run
run promote 2
run versions

say "Back, and forward again: version 1 is still there."
run rollback
run promote 2

say "Nobody needs version 1 any more."
run retire 1 --yes
run versions

say "A reader that begins now reads all of it from version 2 (the first lines of it):"
run tail departures-per-hour --live | head -n 3 || true
printf '\nTry next: docs/lifecycle.md; the same while a job runs and a reader follows is tests/lifecycle/walk.rs\n'
