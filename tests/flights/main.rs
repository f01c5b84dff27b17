//! The flights job as its user runs it: the binary, its files, kills and restarts, against a model of a few lines over the same file.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod model;
#[path = "../kit/processes.rs"]
mod processes;
mod runs;
#[path = "../kit/seeded.rs"]
mod seeded;
mod trial;

mod answers;
mod delivery;
mod faults;
#[path = "../kit/full.rs"]
mod full;
mod kills;
