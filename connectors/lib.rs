//! Connectors: the outside world of a job.
//!
//! A source is described where the job is drawn, and touches nothing until the engine opens it: `log.read::<Click>("clicks", Json)`,
//! `File::csv::<Row>("rows.csv.gz")`, [`generate`], [`vec`](vec()), [`stdin_lines`]. It has no event time of its own yet: the job says it,
//! `.event_time(|click| ..)`. A sink is described the same way: `log.write("counts", Json)`, [`Stdout::lines`], [`Collected::sink`],
//! [`null`].
//!
//! Contracts that every connector here keeps:
//! - Reading never blocks a worker. What needs a disk is read ahead by a thread, in bounded blocks, and decoded in place on the worker.
//! - A position is a number, and reading from it gives the same records after every restart. The exception says so: [`stdin_lines`].
//! - What does not decode is handed over as refused, with its place, and its bytes can be asked for: the job's policy decides, nothing is
//!   dropped.
//! - An error names the file, topic or offset and the way out, and has the exit code of what helps.
//!
//! Which outputs are exactly once: a job that writes to the log has the log as decider, and its output becomes real in the same durable
//! record as its positions. [`Stdout`] and [`Collected`] are followers and get records after that; what they show is for looking.
//!
//! # Map
//! - `format`: how values are written outside ([`Format`], [`Json`], [`Csv`], [`Bincode`], [`Raw`], [`Text`]), whole [`Message`]s,
//!   and values with their bytes ([`Kept`]).
//! - `log`: the embedded log itself, which knows nothing of jobs; `log_job`: the log as source and decider; `topic`: topics as sinks, wherever they lie.
//! - `kafka`: Kafka as source, sink and decider, behind the feature of this name.
//! - `file`: CSV, JSON lines and lines, plain or compressed; lines of standard input.
//! - `generator`: records made up, at a rate, from a seed.
//! - `vec`, `collect`, `stdout`: for tests, benches and looking.
//! - `ahead`: the thread that reads ahead; `begin`: where a first start begins.

pub mod log;

mod ahead;
mod begin;
mod collect;
mod file;
mod format;
mod generator;
#[cfg(feature = "kafka")]
mod kafka;
mod log_job;
mod stdout;
mod topic;
mod vec;

#[cfg(test)]
mod trial;

pub use collect::{CollectSink, Collected};
pub use file::{Columns, File, FileReader, FileSource, Framing, Lined, Rows, Stdin, stdin_lines};
pub use format::{
    AnyFormat, Bincode, Csv, Format, FormatError, Incoming, Json, Keeping, Kept, Message, Messages, Raw, Text, Unpack,
    Values,
};
pub use generator::{Dice, Generator, GeneratorReader, generate};
#[cfg(feature = "kafka")]
pub use kafka::{Fed, Kafka, KafkaOptions, KafkaReader, KafkaSource, KafkaWriter};
pub use log_job::{LogReader, LogSource};
pub use stdout::{Null, Stdout, StdoutLines, null};
pub use topic::{DeadLetters, TopicKept, TopicSink, TopicSinkBy, TopicUpsert, Topics, WireKey, partition_of};
pub use vec::{VecReader, VecSource, vec};
