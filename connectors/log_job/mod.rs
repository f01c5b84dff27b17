//! The embedded log as a job's source and sink, and as what decides its commits.
//!
//! [`Log::read`] and [`Log::write`] describe, and touch nothing: the engine opens them. A job that writes to a log has it as its decider.
//! The log's writer named `job@version` makes output, source positions and checkpoint real with one durable record, which holds the
//! engine's commit record as its payload; its lock is what keeps a second instance out. Every record it writes has a header
//! `millpond: job@version run epoch`.
//!
//! Modules: `source` and `fetch` read ahead on a thread and decode on the worker; `decider` commits;
//! `ledger` is what tools need; `fault` says which exit code an error of the log has.

mod decider;
mod fault;
mod fetch;
mod ledger;
mod source;

#[cfg(test)]
mod decider_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod source_tests;

use std::rc::Rc;

use millpond_state::Data;

use crate::Format;
use crate::format::{AnyFormat, Values};
use crate::log::Log;
use crate::topic::{DeadLetters, TopicKept, TopicSink, Topics};

pub use source::{LogReader, LogSource};

impl Log {
    /// Reads a topic as a source: each record's value, in a format. Whole messages with keys and headers: [`LogSource::messages`].
    ///
    /// ```
    /// use millpond_connectors::{Json, log::Log};
    /// use millpond_engine::Untimed;
    /// use millpond_state::Timestamp;
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Click { page: String, at: i64 }
    /// let clicks = Log::at("state/log").read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
    /// # let _ = clicks;
    /// ```
    pub fn read<T: Data>(&self, topic: &str, format: impl Format<T>) -> LogSource<T, Values<AnyFormat<T>>> {
        LogSource::new(self.clone(), topic, Values(AnyFormat::new(format)))
    }

    /// Writes values to a topic, as the job's decider: what is written becomes visible with the job's commits. The event time becomes the
    /// record's timestamp. Without [`TopicSink::key`] records have no key, and their partition is chosen by their value.
    ///
    /// ```
    /// use millpond_connectors::{Json, log::Log};
    /// let log = Log::at("state/log");
    /// let counts = log.write("counts", Json).key(|count: &(String, u64)| count.0.clone()); // for `stream.sink("counts", ..)`
    /// # let _ = counts;
    /// ```
    pub fn write<F>(&self, topic: &str, format: F) -> TopicSink<Log, F> {
        TopicSink::new(self.clone(), topic, format)
    }

    /// Writes records that were read with their original bytes ([`Kept`](crate::Kept)) on unchanged: key, value, headers and timestamp.
    ///
    /// ```
    /// use millpond_connectors::log::Log;
    /// let late = Log::at("state/log").write_kept("late-clicks"); // for `late.sink("late", ..)`
    /// # let _ = late;
    /// ```
    pub fn write_kept(&self, topic: &str) -> TopicKept<Log> {
        TopicKept::new(self.clone(), topic)
    }

    /// Writes bad records to a topic as they came (key, value, headers), with what was wrong in the headers `millpond-error`,
    /// `millpond-step` and `millpond-position` (source/partition/offset).
    ///
    /// ```
    /// use millpond_connectors::log::Log;
    /// let dead = Log::at("state/log").dead_letters("clicks-dead"); // for `flow.dead_letters("dead", ..)`
    /// # let _ = dead;
    /// ```
    pub fn dead_letters(&self, topic: &str) -> DeadLetters<Log> {
        DeadLetters::new(self.clone(), topic)
    }
}

impl Topics for Log {
    const KIND: &'static str = "log";

    fn system(&self) -> Rc<dyn millpond_engine::sink::System> {
        Rc::new(decider::LogSystem::new(self.clone()))
    }
}
