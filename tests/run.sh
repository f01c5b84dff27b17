#!/usr/bin/env bash
# Everything that has to pass: format, lints, tests, docs, examples. Installs what it needs where it can.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
began=$SECONDS
step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - began)); }

need() { # command package
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q && apt-get install -y -q --no-install-recommends "$2"
  else
    echo "tests/run.sh needs $1: install the package $2" >&2
    exit 2
  fi
}
need cc gcc
# librdkafka is built from source; its TLS needs OpenSSL's headers.
need g++ g++
need make make
need pkg-config pkg-config
# The broker that Kafka is tested with runs on Java, and Maven fetches it.
need java openjdk-17-jre-headless
need mvn maven
pkg-config --exists openssl || {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q && apt-get install -y -q --no-install-recommends libssl-dev
  else
    echo "tests/run.sh needs OpenSSL's headers: install the package libssl-dev" >&2
    exit 2
  fi
}
# Kerberos is only built, not spoken: what lacks its headers goes without.
features=tls
if pkg-config --exists libsasl2 || { [ "$(id -u)" = 0 ] && apt-get install -y -q --no-install-recommends libsasl2-dev; }; then
  features=tls,sasl
fi
command -v cargo >/dev/null || { echo "tests/run.sh needs Rust 1.95 or newer: https://rustup.rs" >&2; exit 2; }
for part in clippy fmt; do
  cargo "$part" --version >/dev/null || { echo "tests/run.sh needs cargo $part: rustup component add ${part/fmt/rustfmt}" >&2; exit 2; }
done

export CARGO_INCREMENTAL=0
step format
cargo fmt --all --check
step lints
cargo clippy --workspace --all-targets --locked -- -D warnings
step tests
tests/kafka/broker.sh fetch
cargo test --workspace --locked --no-fail-fast
step "Kafka through TLS and SASL/SCRAM ($features)"
cargo test --locked --features "$features" --test kafka -- secure::
step docs
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
if command -v cargo-deny >/dev/null; then
  step "licences and advisories"
  cargo deny --offline check
fi
step examples
bash tests/examples.sh
step "all passed"
