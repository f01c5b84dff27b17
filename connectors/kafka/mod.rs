//! Kafka as a job's source and sink, and as what decides its commits.
//!
//! [`Kafka::brokers`] names a cluster and its settings, and touches nothing: the engine connects. Settings are librdkafka's, by its names;
//! those that exactly-once delivery rests on are the connector's own and are refused.
//!
//! # Reading
//!
//! The engine decides who reads which partition from where, so there is no group, no subscription, no commit by the client: each worker has
//! a consumer and starts exactly the partitions it owns, each with a queue of its own. A partition is paused by not reading its queue,
//! which then fills up to its share of the memory for reading ahead ([`client`]) and is not fetched any more. Records are decoded on the
//! worker, where they lie in the fetched bytes.
//!
//! What is read is what is committed: reading stands at the *last stable offset*, before the oldest transaction that is still open, and
//! aborted records are stepped over. An offset is therefore not a count: compaction, aborted records and the markers that end transactions
//! leave gaps, and nothing here takes one for a loss. That nothing is lost rests on the queues: a partition's records have no other way
//! than its queue, in order, and an offset that goes back stops the job.
//!
//! The end of a partition is known only from the broker's answer to a fetch at that very place, which librdkafka hands on as an event. So a
//! bounded run ends at its ends also where the last offsets before them hold no records.
//!
//! # Writing
//!
//! One transactional producer a job writes the output of all workers, and the job's commit record with it. The transactional id is the fence,
//! so that a second instance takes over instead of writing beside the first.
//!
//! Modules: `options`, `settings`, `client` and `producer` make clients, `fault` and `failure` say what an error asks for, `ask` asks until
//! there is an answer, `login` says who is not let in, `connect` for partitions and offsets, `source` and `hand` read, `place` says what is wrong there, `outlets` makes the topics that are written,
//! `send` writes, `transaction` and `decider` commit, `mirror` says which positions are written beside, `writer` is for programs that feed topics, `raw` calls librdkafka.

mod ask;
mod client;
mod connect;
mod decider;
mod failure;
mod fault;
mod follow;
mod hand;
mod ledger;
mod login;
mod mirror;
mod options;
mod outlets;
mod place;
mod producer;
mod raw;
mod send;
mod settings;
mod source;
mod transaction;
mod writer;

#[cfg(test)]
mod source_tests;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use millpond_engine::Fault;
use millpond_engine::sink::System;
use millpond_state::Data;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::Format;
use crate::format::{AnyFormat, Values};
use crate::topic::{DeadLetters, TopicKept, TopicSink, Topics};

pub use options::KafkaOptions;
pub use source::{KafkaReader, KafkaSource};
pub use writer::{Fed, KafkaWriter};

/// The header that holds a record's event time, RFC 3339, where its timestamp does not.
const EVENT_TIME: &str = "millpond-time";

/// A Kafka cluster: its brokers, and librdkafka's settings for every client of it.
///
/// ```
/// use millpond_connectors::Kafka;
/// let kafka = Kafka::brokers("localhost:9092").set("client.rack", "eu-1").set("sasl.password", "secret");
/// assert!(!format!("{kafka:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Kafka {
    brokers: String,
    settings: BTreeMap<String, String>,
}

impl Kafka {
    /// The cluster that these brokers belong to: `host:port`, several separated by commas.
    pub fn brokers(brokers: impl Into<String>) -> Self {
        Kafka { brokers: brokers.into(), settings: BTreeMap::new() }
    }

    /// A setting of librdkafka for every client of this cluster. Those the connector owns are refused when the job starts.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Reads a topic as a source: each record's value, in a format. Whole messages with keys and headers: [`KafkaSource::messages`].
    ///
    /// ```
    /// use millpond_connectors::{Json, Kafka};
    /// use millpond_engine::Untimed;
    /// use millpond_state::Timestamp;
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Click { page: String, at: i64 }
    /// let kafka = Kafka::brokers("localhost:9092");
    /// let clicks = kafka.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
    /// # let _ = clicks;
    /// ```
    pub fn read<T: Data>(&self, topic: &str, format: impl Format<T>) -> KafkaSource<T, Values<AnyFormat<T>>> {
        KafkaSource::new(self.clone(), topic, Values(AnyFormat::new(format)))
    }

    /// Writes values to a topic, as the job's decider: what is written becomes visible with the job's commits. The event time becomes the
    /// record's timestamp, where the topic takes it; else it is in the header `millpond-time`. Without [`TopicSink::key`] records have no
    /// key, and their partition is chosen by their value.
    ///
    /// ```
    /// use millpond_connectors::{Json, Kafka};
    /// let kafka = Kafka::brokers("localhost:9092");
    /// let counts = kafka.write("counts", Json).key(|count: &(String, u64)| count.0.clone()); // for `stream.sink("counts", ..)`
    /// # let _ = counts;
    /// ```
    pub fn write<F>(&self, topic: &str, format: F) -> TopicSink<Kafka, F> {
        TopicSink::new(self.clone(), topic, format)
    }

    /// Writes bad records to a topic as they came (key, value, headers), with what was wrong in the headers `millpond-error`,
    /// `millpond-step` and `millpond-position` (source/partition/offset).
    ///
    /// ```
    /// use millpond_connectors::Kafka;
    /// let dead = Kafka::brokers("localhost:9092").dead_letters("clicks-dead"); // for `flow.dead_letters("dead", ..)`
    /// # let _ = dead;
    /// ```
    pub fn dead_letters(&self, topic: &str) -> DeadLetters<Kafka> {
        DeadLetters::new(self.clone(), topic)
    }

    /// Writes records that were read with their original bytes ([`Kept`](crate::Kept)) on unchanged: key, value, headers and timestamp.
    ///
    /// ```
    /// use millpond_connectors::Kafka;
    /// let late = Kafka::brokers("localhost:9092").write_kept("late-clicks"); // for `late.sink("late", ..)`
    /// # let _ = late;
    /// ```
    pub fn write_kept(&self, topic: &str) -> TopicKept<Kafka> {
        TopicKept::new(self.clone(), topic)
    }

    /// What tells this cluster from others: the same brokers in any order.
    fn identity(&self) -> String {
        let mut brokers: Vec<&str> = self.brokers.split(',').map(str::trim).collect();
        brokers.sort_unstable();
        format!("kafka:{}", brokers.join(","))
    }

    /// What every client of this cluster is made with: the user's settings over `defaults`, and `own` over both.
    ///
    /// # Errors
    /// When a setting is the connector's own.
    fn config(&self, defaults: &[(&str, &str)], own: &[(&str, &str)]) -> Result<ClientConfig, Fault> {
        settings::check(self.settings.keys().map(String::as_str))?;
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.settings {
            config.set(name, value);
        }
        for (name, value) in own {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        // So that it says why a broker cannot be reached; what is shown of it, `RUST_LOG` says.
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }
}

impl Topics for Kafka {
    const KIND: &'static str = "kafka";

    fn system(&self) -> Rc<dyn System> {
        decider::KafkaSystem::shared(self)
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a name that is mistyped is not known for a secret's.
        f.debug_struct("Kafka").field("brokers", &self.brokers).field("settings", &self.settings.keys()).finish()
    }
}
