#!/usr/bin/env bash
# A real Apache Kafka broker on this machine, for tests, benches, and to try Millpond with: nothing but Java and Maven is needed.
#
#   broker.sh fetch           download Kafka (some 50 MB, once)
#   broker.sh start           start the broker, fetching it first where needed, and print its address
#   broker.sh stop            stop it in order; its topics stay
#   broker.sh kill9           kill it, as a crash would
#   broker.sh pause|resume    SIGSTOP and SIGCONT
#   broker.sh status          exit 0 and say where it is, or exit 3
#   broker.sh wipe            stop it and delete its topics
#   broker.sh read TOPIC      print a topic's committed records, keys first, and leave when no more come
#   broker.sh topics          list topics
#   broker.sh only TOPIC RIGHT     leave everybody but one right to a topic (read, write, which both hold describe; alter)
#   broker.sh allow TOPIC     give back all others
#   broker.sh password WORD   change the password of the user "mill" for SCRAM-SHA-512 (BROKER_SECURE)
#
# Environment:
#   BROKER_PORT=9092          clients' port; the one after it is the controller's
#   BROKER_HOME=.kafka        where data, settings and logs of brokers lie (in the repository's folder unless absolute)
#   BROKER_JARS               where Kafka's jars lie (.kafka/jars-VERSION in the repository's folder)
#   BROKER_VERSION=4.1.1      version of Kafka
#   BROKER_HEAP=512m          the broker's memory
#   BROKER_SECURE=1           two more listeners: TLS on port + 2, TLS with SASL/SCRAM on port + 3 (user "mill", password
#                             "pond"); the certificate to trust is written to BROKER_HOME/PORT/ca.pem. Decided at the first start.
#   BROKER_ADVERTISE=PORT     one more listener on port + 4, which says of itself that it is on this port of this machine: for a proxy that
#                             stands before it. Decided at the first start.
#   BROKER_JOINS=PORT         another broker of the cluster of the one on this port, which was started in the same BROKER_HOME
#   BROKER_COPIES=1           how many brokers keep each topic, where it is made without saying so; with 3, two have to have a record. For the
#                             first broker of a cluster. Both are decided at the first start.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

port=${BROKER_PORT:-9092}
version=${BROKER_VERSION:-4.1.1}
home=${BROKER_HOME:-.kafka}
case $home in /*) ;; *) home=$root/$home ;; esac
jars=${BROKER_JARS:-$root/.kafka/jars-$version}
mine=$home/$port
settings=$mine/server.properties
log=$mine/broker.log
pid_file=$mine/pid
heap=${BROKER_HEAP:-512m}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

fail() { printf 'broker.sh: %s\n' "$1" >&2; exit "${2:-1}"; }

need() { # command package
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -y -q --no-install-recommends "$2"; } >&2 || fail "cannot install $2, which $1 is part of" 2
  else
    fail "needs $1: install Java 17 or newer and Maven (on Debian and Ubuntu: sudo apt-get install $2)" 2
  fi
}

kafka() { # class arguments..
  "$java" -Xmx256m -Dlevel="${level:-error}" -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$jars/*" "$@"
}

fetch() {
  need "$java" openjdk-17-jre-headless
  [ -d "$jars" ] && return 0
  need mvn maven
  mkdir -p "$(dirname "$jars")"
  # A folder of its own, renamed when it is whole: an interrupted or a second download leaves nothing half done behind.
  local part
  part=$(mktemp -d "$jars.XXXXXX")
  if ! mvn -q -B -Dstyle.color=never -f "$here/pom.xml" -Dkafka.version="$version" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$part" >&2; then
    rm -rf "$part"
    fail "cannot fetch Apache Kafka $version with Maven, see above"
  fi
  if [ -d "$jars" ]; then rm -rf "$part"; else mv "$part" "$jars"; fi
}

alive() { # the pid in the file may have been given to another process since
  [ -f "$pid_file" ] && ps -o args= -p "$(cat "$pid_file")" 2>/dev/null | grep -qF "$settings"
}

certificates() { # keytool comes with Java: one certificate authority, one certificate for this machine
  local store="$mine/keys.p12" sign="$mine/authority.p12" word=pond-pond
  local tool=(keytool -storetype PKCS12 -storepass "$word")
  rm -f "$store" "$sign"
  "${tool[@]}" -genkeypair -keystore "$sign" -alias ca -keyalg EC -groupname secp256r1 -validity 3650 \
    -dname CN=millpond-tests -ext bc:c >/dev/null 2>&1
  "${tool[@]}" -exportcert -keystore "$sign" -alias ca -rfc >"$mine/ca.pem" 2>/dev/null
  "${tool[@]}" -genkeypair -keystore "$store" -alias broker -keyalg EC -groupname secp256r1 -validity 3650 \
    -dname CN=localhost >/dev/null 2>&1
  "${tool[@]}" -certreq -keystore "$store" -alias broker 2>/dev/null |
    "${tool[@]}" -gencert -keystore "$sign" -alias ca -validity 3650 -rfc -ext san=dns:localhost,ip:127.0.0.1 >"$mine/broker.pem" 2>/dev/null
  "${tool[@]}" -importcert -keystore "$store" -alias ca -file "$mine/ca.pem" -noprompt >/dev/null 2>&1
  "${tool[@]}" -importcert -keystore "$store" -alias broker -file "$mine/broker.pem" -noprompt >/dev/null 2>&1
}

configure() { # once; a broker keeps the settings it was first started with
  [ -f "$settings" ] && [ -f "$mine/data/meta.properties" ] && return 0
  mkdir -p "$mine"
  local listeners="PLAINTEXT://127.0.0.1:$port" format=()
  if [ "${BROKER_SECURE:-0}" = 1 ]; then
    listeners="$listeners,SSL://127.0.0.1:$((port + 2)),SASL_SSL://127.0.0.1:$((port + 3))"
    format=(--add-scram 'SCRAM-SHA-256=[name=mill,password=pond]' --add-scram 'SCRAM-SHA-512=[name=mill,password=pond]')
    certificates || fail "keytool could not make certificates in $mine"
  fi
  local advertised=$listeners
  if [ -n "${BROKER_ADVERTISE:-}" ]; then
    listeners="$listeners,BEHIND://127.0.0.1:$((port + 4))"
    advertised="$advertised,BEHIND://127.0.0.1:$BROKER_ADVERTISE"
  fi
  local joins=${BROKER_JOINS:-} copies=${BROKER_COPIES:-1} cluster=
  if [ -n "$joins" ]; then
    cluster=$(sed -n 's/^cluster.id=//p' "$home/$joins/data/meta.properties")
  else
    cluster=$(kafka kafka.tools.StorageTool random-uuid)
    listeners="$listeners,CONTROLLER://127.0.0.1:$((port + 1))"
    format+=(--standalone)
  fi
  {
    cat "$here/server.properties"
    printf '\nlog.dirs=%s\nlisteners=%s\nadvertised.listeners=%s\n' "$mine/data" "$listeners" "$advertised"
    printf 'controller.quorum.bootstrap.servers=127.0.0.1:%d\n' $((${joins:-$port} + 1))
    # The last line of a name counts.
    [ -z "$joins" ] || printf 'node.id=%d\nprocess.roles=broker\n' "$port"
    if [ "$copies" -gt 1 ]; then
      # A broker that is killed is missed soon.
      printf 'broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n'
      printf '%s.replication.factor=%d\n' default "$copies" offsets.topic "$copies" transaction.state.log "$copies"
      printf '%s=%d\n' min.insync.replicas $((copies - 1)) transaction.state.log.min.isr $((copies - 1))
    fi
    if [ "${BROKER_SECURE:-0}" = 1 ]; then
      printf 'ssl.keystore.type=PKCS12\nssl.keystore.location=%s\nssl.keystore.password=pond-pond\nssl.key.password=pond-pond\n' "$mine/keys.p12"
      printf 'sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512\n'
      for mechanism in scram-sha-256 scram-sha-512; do
        printf 'listener.name.sasl_ssl.%s.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n' "$mechanism"
      done
    fi
  } >"$settings"
  kafka kafka.tools.StorageTool format -t "$cluster" -c "$settings" "${format[@]}" \
    >"$mine/format.log" 2>&1 || { cat "$mine/format.log" >&2; fail "cannot format $mine/data"; }
}

start() {
  if ! alive; then
    fetch
    configure
    [ -f "$log" ] && mv "$log" "$log.1"
    : >"$log"
    nohup "$java" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Dlog4j2.configurationFile="$here/log4j2.properties" \
      -cp "$jars/*" kafka.Kafka "$settings" >"$log" 2>&1 </dev/null &
    printf '%d\n' $! >"$pid_file"
    local waited=0
    until grep -q 'Kafka Server started' "$log"; do
      alive || { tail -n 20 "$log" >&2; fail "Kafka did not start; is port $port, $((port + 1)) taken? Its log is $log"; }
      [ $((waited += 1)) -le 300 ] || { tail -n 20 "$log" >&2; fail "Kafka is not ready after 60 s; its log is $log"; }
      sleep 0.2
    done
  fi
  printf '127.0.0.1:%d\n' "$port"
}

stop() {
  alive || { rm -f "$pid_file"; return 0; }
  local pid waited=0
  pid=$(cat "$pid_file")
  kill -CONT "$pid"
  kill -TERM "$pid"
  while alive; do
    [ $((waited += 1)) -le 150 ] || { kill -KILL "$pid"; break; }
    sleep 0.2
  done
  rm -f "$pid_file"
}

acls() { kafka org.apache.kafka.tools.AclCommand --bootstrap-server "127.0.0.1:$port" "$@" >/dev/null; }

topics() { kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port" --list; }

running() { alive || fail "no broker runs on port $port (broker.sh start)" 3; }

case ${1:-} in
  fetch) fetch ;;
  start) start ;;
  stop) stop ;;
  kill9)
    running
    kill -KILL "$(cat "$pid_file")"
    while alive; do sleep 0.05; done
    rm -f "$pid_file"
    ;;
  pause) running && kill -STOP "$(cat "$pid_file")" ;;
  resume) running && kill -CONT "$(cat "$pid_file")" ;;
  status) running && printf '127.0.0.1:%d pid %d\n' "$port" "$(cat "$pid_file")" ;;
  wipe) stop && rm -rf "$mine" ;;
  read)
    [ -n "${2:-}" ] || fail "which topic? broker.sh read TOPIC" 64
    running
    fetch
    # The end of the topic is a time-out to the consumer, which it would report as an error, and so is a reader that goes, like `head`.
    exec 3>&1
    said=$(level=off kafka org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "127.0.0.1:$port" --topic "$2" --from-beginning \
      --isolation-level read_committed --timeout-ms "${BROKER_WAIT_MS:-5000}" --property print.key=true 2>&1 >&3) || failed=$?
    said=$(grep -v 'Unable to write to standard out' <<<"$said" || true)
    [ -z "$said" ] || printf '%s\n' "$said" >&2
    case $said in
      *' total of 0 messages'*) topics | grep -xF -- "$2" >/dev/null || fail "there is no topic $2 (broker.sh topics lists them)" 64 ;;
    esac
    exit "${failed:-0}"
    ;;
  only)
    [ -n "${3:-}" ] || fail "which topic, and which right? broker.sh only TOPIC read" 64
    running
    acls --add --allow-principal 'User:*' --operation "$3" --topic "$2"
    ;;
  allow)
    [ -n "${2:-}" ] || fail "which topic? broker.sh allow TOPIC" 64
    running
    acls --remove --force --topic "$2"
    ;;
  password)
    running
    kafka kafka.admin.ConfigCommand --bootstrap-server "127.0.0.1:$port" --alter --entity-type users --entity-name mill \
      --add-config "SCRAM-SHA-512=[password=${2:-pond}]" >/dev/null
    ;;
  topics) running && fetch && topics ;;
  *)
    sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 64
    ;;
esac
