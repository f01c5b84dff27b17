//! What the crate rdkafka has no safe way for: the one place in this project with `unsafe`.
//!
//! Each file here wraps a few calls of librdkafka (`rdkafka::bindings`) in types that own what they hold and free it themselves. Nothing
//! that is unsafe leaves this folder, and each `unsafe` block says why it is sound. What librdkafka promises and all of them rest on: its
//! handles may be used from any thread; a topic, a queue and a message must be given back before the client is destroyed; the bytes of a
//! message live as long as the message.
//!
//! - `consume`: reads one partition through a queue of its own, many messages a call, decoded where they lie.
//! - `describe`: a topic's id.
//! - `produce`: hands records to a producer, and its transactions; `hear`: what a producer reports.
//! - `committed`: what a group has committed, with its metadata.

#![expect(unsafe_code, reason = "calls into librdkafka; see above")]

mod committed;
mod consume;
mod describe;
mod hear;
mod produce;

pub(super) use committed::{Position, committed};
pub(super) use consume::{Keep, Message, PartitionQueue, Topic};
pub(super) use describe::topic_id;
pub(super) use produce::{Produced, Producer};
