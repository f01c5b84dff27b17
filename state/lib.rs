//! State: what a job remembers, and how that survives.
//!
//! This is the ground floor. It knows no timely, starts no thread and looks at no clock; the engine above calls it.
//!
//! A record that travels is [`Data`], what it is grouped by is a [`Key`]. A key has a **stable hash** ([`stable_hash`]), the same in every
//! release and on every machine, and through it one of 1,024 **key groups** ([`KeyGroup`]) for ever. Key groups are owned by workers,
//! written to files and moved when the number of workers changes; nothing else may be state, so that any checkpoint restores anywhere.
//!
//! An operator keeps its state in **handles**: [`Panes`] (a table for each open window), [`Keyed`] (a value for each key), [`Timers`], and
//! [`Fired`], the watermark up to which each key group's windows have fired. Handles alone know what an epoch touched; at its end they
//! encode just that into a [`Section`], on the worker, some 20 ns an entry. A worker's sections of an epoch are its [`Delta`].
//!
//! The **store** ([`store`]) makes deltas durable as immutable, sorted, checksummed files, says in a **manifest** which files are a
//! checkpoint, merges them in the background, deletes what nobody needs, and streams them back for whatever key groups a worker owns now.
//! Bytes that are not what was written are an error with file and offset. The formats are drawn in `docs/checkpoint-format.md`.
//!
//! Types change while state stays, and bincode would decode nonsense. So every manifest holds the [`Shape`] of each key and state type, traced
//! through serde, and a job whose shapes differ is refused.
//!
//! # Map
//! - `time`: [`Timestamp`]; `position`: [`Position`], a record's place in its log.
//! - `data`: the two bounds; `hash`, `group`: from keys to key groups.
//! - `codec`: state bytes; `shape`: what they mean.
//! - `handles`: what operators hold; `delta`: what they hand over.
//! - `store`: files, manifests, merging, retention.

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
pub use handles::{Fired, Handle, Keyed, OpenWindow, Panes, Timers, restore_entry};
pub use hash::stable_hash;
pub use position::Position;
pub use shape::{Shape, ShapeError};
pub use time::{Timestamp, TimestampError, span_micros};
