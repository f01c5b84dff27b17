//! Jobs on a real broker: Apache Kafka, started by broker.sh, once for the whole program.
//!
//! The oracle is always the same: what a `read_committed` reader sees of a job's topics equals what a model of a few lines makes of its
//! input, whatever was killed, stopped or broken in between. Each test has topics and a job name of its own.

#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod broker;
#[path = "../../examples/load/clicks.rs"]
mod clicks;
mod cluster;
mod model;
#[path = "../kit/processes.rs"]
mod processes;
mod producers;
mod proxy;
mod reader;
mod runs;
#[path = "../kit/seeded.rs"]
mod seeded;
mod world;

mod anomalies;
mod answers;
mod clusters;
mod flights;
mod forms;
mod inputs;
mod instances;
mod kills;
mod late;
mod letters;
mod modes;
mod outages;
mod pauses;
mod refusals;
mod savepoints;
#[cfg(feature = "tls")]
mod secure;
mod smoke;
mod versions;
