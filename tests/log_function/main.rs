//! The answer is a function of the log: of what lies in its partitions, and of nothing else.
//!
//! A month of flights lies in one log. Every test has versions of a job read it under other circumstances (workers, batches, delays,
//! stops, restarts, while it is written) and compares everything that is written, late records too, byte for byte after sorting. What
//! is not a function of the log is said to be so, counted, and tested as that: a partition that was silent for too long.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod delayed;
mod idle;
mod jobs;
mod live;
mod replays;
#[path = "../kit/seeded.rs"]
mod seeded;
mod world;
