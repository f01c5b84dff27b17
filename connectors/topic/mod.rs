//! Topics as sinks: what the embedded log and Kafka have in common.
//!
//! A sink here says how a record becomes key, value and headers, and which partition it goes to. Where the topic lies, and whose atomic
//! write makes its records real, is the [`Topics`]' own.
//!
//! Modules: `sink` (values), `upsert` (changes), `dead` (bad records), `kept` (records written on unchanged), `key` (keys and the partitions they choose),
//! `redrive` (dead letters that a source reads again).

mod dead;
mod kept;
mod key;
mod redrive;
mod sink;
mod upsert;

use std::fmt;
use std::rc::Rc;

use millpond_engine::sink::System;

pub use dead::DeadLetters;
pub use kept::TopicKept;
pub use key::{WireKey, partition_of};
pub(crate) use redrive::Asked;
pub use sink::{TopicSink, TopicSinkBy};
pub use upsert::TopicUpsert;

/// The header `millpond: job@version run epoch` on every record that a job writes.
pub(crate) const HEADER: &str = "millpond";

/// A place that has topics: an embedded log, a Kafka cluster.
pub trait Topics: Clone + fmt::Debug + 'static {
    /// What kind of place, for plans: `log`, `kafka`.
    const KIND: &'static str;
    /// The system that makes its records real.
    fn system(&self) -> Rc<dyn System>;
}
