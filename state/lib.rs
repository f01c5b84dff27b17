//! State of a job: what it is made of, how it is hashed, encoded, checkpointed and restored.

mod codec;
mod data;
mod delta;
mod group;
mod handles;
mod hash;
mod position;
mod shape;
pub mod store;
mod time;

pub use codec::{CODEC_VERSION, CodecError, decode, decode_ordered, encode_into, encode_ordered};
pub use data::{Data, Key};
pub use delta::{Delta, Entry, Section};
pub use group::KeyGroup;
pub use handles::{Fired, Handle, Keyed, Panes, Timers, restore_entry};
pub use hash::stable_hash;
pub use position::Position;
pub use shape::{Shape, ShapeError};
pub use time::{Timestamp, TimestampError, span_micros};
