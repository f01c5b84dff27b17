//! connectors

pub mod log;

mod ahead;
mod begin;
mod collect;
mod file;
mod format;
mod generator;
mod log_job;
mod stdout;
mod vec;

#[cfg(test)]
mod trial;

pub use collect::{CollectSink, Collected};
pub use file::{Columns, File, FileReader, FileSource, Framing, Lined, Rows, Stdin, stdin_lines};
pub use format::{AnyFormat, Bincode, Csv, Format, FormatError, Incoming, Json, Message, Messages, Raw, Text, Unpack, Values};
pub use generator::{Dice, Generator, GeneratorReader, generate};
pub use log_job::{DeadLetters, LogReader, LogSink, LogSinkBy, LogSource, WireKey, partition_of};
pub use stdout::{Null, Stdout, StdoutLines, null};
pub use vec::{VecReader, VecSource, vec};
