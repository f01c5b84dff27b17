//! Dead letters as a person deals with them, on the embedded log: a mended build is started, and what the old one could not use is sent
//! through it again, while it runs and while it does not, with kill -9 of tools and jobs. What comes of it equals what a build that had
//! been right from the start would have made.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod job;
#[path = "../kit/said.rs"]
mod said;
#[path = "../kit/seeded.rs"]
mod seeded;
mod world;

mod again;
mod kills;
mod left;
mod refusals;
mod twice;
