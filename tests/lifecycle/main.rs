//! The life of a job's versions as a person leads it, with `page_views` on the embedded log: replay beside a running version, compare, promote while a
//! reader follows, go back, promote again, retire; with kill -9 of the tools at every step, and of the jobs. And versions that start from savepoints.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../kit/full.rs"]
mod full;
mod job;
#[path = "../kit/processes.rs"]
mod processes;
#[path = "../kit/said.rs"]
mod said;
#[path = "../kit/seeded.rs"]
mod seeded;
mod world;

mod ends;
mod flights;
mod letters;
mod refusals;
mod replays;
mod savepoints;
mod tables;
mod walk;
