//! What a job says: `Job`, `Flow`, `Stream`, windows and aggregates.

pub mod aggregate;
mod flow;
mod job;
mod keyed_stream;
mod stream;
pub mod windows;

pub use flow::Flow;
pub use job::{Drawn, Job};
pub use keyed_stream::KeyedStream;
pub use stream::Stream;
