//! What a job says: `Job`, `Flow`, `Stream`, windows and aggregates.

pub mod aggregate;
mod flow;
mod job;
mod keyed_stream;
#[cfg(test)]
mod kit;
mod stream;
mod testing;
pub mod windowed;
pub mod windows;

pub use flow::Flow;
pub use job::{Drawn, Job, Plain, With};
pub use keyed_stream::KeyedStream;
pub use stream::Stream;
pub use testing::Test;
pub use windowed::{Pane, Windowed};
