//! State of a job: what it is made of, how it is hashed, encoded, checkpointed and restored.

mod data;
mod delta;
mod group;
mod time;

pub use data::{Data, Key};
pub use delta::{Delta, Entry, Section};
pub use group::KeyGroup;
pub use time::{Timestamp, TimestampError, span_micros};
