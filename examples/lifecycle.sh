#!/usr/bin/env bash
# The life of a job's versions, walked through under load: views of pages, and a second version that leaves bots out. Says what to look at.
#
#   bash examples/lifecycle.sh                  on the embedded log, with nothing installed
#   bash examples/lifecycle.sh --kafka          on a Kafka broker of its own, which takes Java and Maven (tests/kafka/broker.sh)
#   bash examples/lifecycle.sh --brokers B      on a cluster that is there, as a job and topics whose names begin with `lifecycle-`
#
#   --state DIR    keep everything in this fresh directory; without it a temporary one, which is removed at the end
#   --go           do not wait for Enter between the steps (so it is where there is no terminal)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

state= brokers= own= stop=
[ -t 0 ] && [ -t 1 ] && stop=1
while [ $# -gt 0 ]; do
  case $1 in
    --kafka) own=1 ;;
    --brokers) brokers=${2:?--brokers host:port}; shift ;;
    --state) state=${2:?--state DIR}; shift ;;
    --go) stop= ;;
    *) sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 64 ;;
  esac
  shift
done

bold=$(printf '\033[1m') plain=$(printf '\033[0m')
[ -t 1 ] || bold= plain=
say() { # what is going to happen
  [ -z "$stop" ] || read -rp "${bold}-- Enter goes on --$plain" _
  printf '\n%s== %s%s\n' "$bold" "$*" "$plain"
}
look() { printf '   %s\n' "$*"; }

keep=1
[ -n "$state" ] || { keep=; state=$(mktemp -d); }
[ -z "$(ls -A "$state" 2>/dev/null)" ] || { echo "$state is not fresh: name another directory" >&2; exit 64; }
mkdir -p "$state"
jobs=()
end() {
  trap '' INT TERM
  [ ${#jobs[@]} = 0 ] || kill "${jobs[@]}" 2>/dev/null || true
  wait
  [ -z "$own" ] || tests/kafka/broker.sh wipe
  [ -n "$keep" ] || rm -rf "$state"
}
trap end EXIT
trap 'exit 130' INT TERM

say "Building page_views and load"
cargo build --release --quiet --locked --example page_views --example load
bin=${CARGO_TARGET_DIR:-target}/release/examples

views=page-views
export MILLPOND_STATE=$state MILLPOND_CHECKPOINT_INTERVAL=200ms
if [ -n "$own" ]; then
  say "A Kafka broker"
  export BROKER_HOME=$state/kafka BROKER_PORT=${BROKER_PORT:-9192}
  brokers=$(tests/kafka/broker.sh start)
fi
if [ -n "$brokers" ]; then
  export MILLPOND_BROKERS=$brokers
  topic=clicks
  if [ -z "$own" ]; then # others may have such topics, and this may be the second walk
    name=lifecycle-$(date +%y%m%d-%H%M%S) views=$name-views topic=$name-clicks
    export MILLPOND_JOB=$name MILLPOND_INPUT=$topic MILLPOND_OUTPUT=$views MILLPOND_LATE=$name-late
  fi
  place="Kafka at $brokers" clicks=(--brokers "$brokers" --topic "$topic")
else
  unset MILLPOND_BROKERS MILLPOND_KAFKA_PROPERTIES
  place="the log in $state/log" clicks=(--log "$state/log")
fi

run() { printf '%s$ page_views %s%s\n' "$bold" "$*" "$plain"; "$bin/page_views" "$@"; }
refused() { # code command...: one that must say no
  local want=$1 code=0; shift
  run "$@" 2>&1 || code=$?
  [ "$code" = "$want" ] || { echo "exit code $code, and $want was to be" >&2; exit 1; }
  look "Exit code $code."
}
started() { # a version goes on in the background
  printf '%s$ page_views %s &%s\n' "$bold" "$*" "$plain"
  "$bin/page_views" "$@" >>"$state/said.txt" 2>&1 &
  jobs+=($!)
}
until_says() { # text command...: asks until the answer holds a text
  local text=$1 tries=0; shift
  until "$bin/page_views" "$@" 2>/dev/null | grep -q -- "$text"; do
    [ $((tries += 1)) -le 600 ] || { echo "page_views $* does not come to say '$text'" >&2; tail "$state/said.txt" >&2; exit 1; }
    sleep 0.2
  done
}
over() { # waits until readers have gone over the newest switch
  local tries=0
  while "$bin/page_views" versions | grep -q "^$views .*waits for"; do
    [ $((tries += 1)) -le 600 ] || { echo "readers do not go over" >&2; exit 1; }
    sleep 0.2
  done
}

say "Load: an hour of clicks, and from then on a minute of clicks every second, in $place"
made=(--pages 20 --partitions 2)
made_now=$("$bin/load" "${clicks[@]}" "${made[@]}" --count 60000 --span 1h)
echo "${made_now%%$'\n'*}"
"$bin/load" "${clicks[@]}" "${made[@]}" --count 3600000 --span 60h --skip 60000 --rate 1000 >/dev/null &
jobs+=($!)

say "Version 1 counts views of each page, minute by minute. It is the first, so it is live."
started run
until_says 'running, live *[0-9,]* *20' versions
run versions
"$bin/page_views" tail "$views" --live --follow --json >"$state/line.txt" 2>>"$state/said.txt" &
jobs+=($!)
look "A reader follows the live line from here on: it will see every minute of every page once, whatever we do."

say "Version 2 leaves bots out: who stays for less than half a second. What could make a replay differ?"
run replay 2 --check

say "Version 2 from the beginning of the log, beside version 1: a state of its own, topics of its own. Then it goes on beside it."
run replay 2 --until-caught-up
started run --job-version 2
until_says '^2 *running *[0-9,]* *20' versions
run versions

say "What is different? The exit code is 2: nobody said that this is meant."
refused 2 compare 1 2 --only "$views" --samples 3
look "Some minutes have fewer views, and nothing else is different."

say "It is not promoted like that."
refused 4 promote 2

say "So say what is meant: minutes differ, in the number of views only."
cat >"$state/expect.json" <<JSON
{ "$views": { "differing": { "least": 1 }, "columns": ["views"] } }
JSON
cat "$state/expect.json"
run compare 1 2 --only "$views" --samples 0 --expect "$state/expect.json"

say "Promoted: readers take minutes before the switch from version 1, and from then on from version 2."
run promote 2 --lead 3m --dry-run
run promote 2 --lead 3m
look "Nothing is stopped for it. The switch lies some minutes ahead of the load, which is some seconds:"
run versions
over
look "And now it has been passed. Look at \"the live line\":"
run versions

say "Something is wrong with it? Back, at once; version 1 was kept current."
run rollback --lead 3m
over
say "It was nothing. Forward again: what was compared still holds."
run promote 2 --lead 3m
over

say "Nobody needs version 1 any more. It is stopped, and its topics, commits and state are deleted."
# The reader has passed the switch when it has seen a row of version 2 after the last one of version 1.
tries=0
until tail -n 1 "$state/line.txt" | grep -q '"version":2'; do [ $((tries += 1)) -le 600 ] || exit 1; sleep 0.2; done
run retire 1 --yes
run versions

say "What the reader saw, over all of this:"
sleep 1
grep '"page"' "$state/line.txt" >"$state/seen.txt"
rows=$(wc -l <"$state/seen.txt") first=$(grep -c '"version":1}' "$state/seen.txt")
starts() { grep -o '"start":[0-9]*' "$state/seen.txt" | cut -d: -f2 | sort -n | uniq; }
twice=$(grep -o '"page":"[^"]*","start":[0-9]*' "$state/seen.txt" | sort | uniq -d | wc -l)
missing=$(starts | awk 'NR > 1 { gap += ($1 - last) / 60000 - 1 } { last = $1 } END { print gap + 0 }')
look "$rows rows, $first of version 1 and $((rows - first)) of version 2; $twice came twice, and $missing minutes are missing."
[ "$twice" = 0 ] && [ "$missing" = 0 ]
look "Try next: docs/lifecycle.md. With kill -9 at every step it is tests/lifecycle and tests/kafka/versions.rs."
[ -z "$keep" ] || look "Everything is in $state."
[ -z "$brokers" ] || [ -n "$own" ] || look "Version 2 of job $name and its topics $name-* stay on the cluster."
