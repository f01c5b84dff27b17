//! What a job says: flows, streams, windows, aggregates.
//!
//! A [`Job`] is drawn by a closure that gets a [`Flow`]. It reads like an iterator chain: a [`Stream`] of records, stateless steps, a key
//! ([`KeyedStream`]), a window ([`Windowed`]), an aggregate, a sink. Types carry the rules where they can: a stream only appends, and what
//! takes back what it said is another type, [`Changes`]; a source that ends never and has not said when its records happened does not compile.
//!
//! A window's result is **final and published once**, when the watermark has passed its end by the allowed lateness. A record is late by the
//! watermark of its own partition, so what is late is a function of the log; late records are counted, and a stream of their own when asked
//! for. What each operator decides where other engines disagree is in its documentation, with a test that names it.
//!
//! Every stateful operator is a pure state machine ([`millpond_engine::Operator`]) over the handles of `millpond-state`: it sees rows, watermarks
//! and snapshots, no clock, no thread. That is why the **kit** can run each one record by record, in batches, with snapshot and restore after
//! every record, on one to three workers, with partitions interleaved at random, against a model of ten lines.
//!
//! # Map
//! - `job`, `flow`: [`Job`], [`Flow`]; `testing`: a flow inside a `#[test]`.
//! - `stream`: stateless steps; `keyed_stream`: the key.
//! - [`windows`]: which windows there are, pure; `windowed`: the steps that keep them.
//! - [`aggregate`]: what is computed.
//! - `changes`: aggregates without windows.
//! - `kit`: how operators are tested.

pub mod aggregate;
pub mod changes;
mod flow;
mod job;
mod keyed_stream;
#[cfg(test)]
mod kit;
mod stream;
mod testing;
pub mod windowed;
pub mod windows;

pub use changes::Changes;
pub use flow::Flow;
pub use job::{Drawn, Job, Plain, With};
pub use keyed_stream::KeyedStream;
pub use stream::Stream;
pub use testing::Test;
pub use windowed::{Pane, Windowed, WithEmpty};
