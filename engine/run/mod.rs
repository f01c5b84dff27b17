//! A run of a job: start, workers, coordinator, end.
//!
//! `start` locks (`hold`), looks whether another instance lives (`watch`), fences and builds, with `recover` deciding what to go on from; `peek` looks from outside;
//! `running` is what the caller holds; `coordinator` drives
//! the protocol; `writer` makes parts durable; `keep` merges and deletes in the background; `worker` runs the dataflow; `local` is
//! shared by the operators of a worker, `shared` and `lanes` by all threads; `pointer` decides for jobs whose outputs only follow;
//! `throttle` bounds how fast it reads; `reached` is what checkpoints know of each output's event time; `savepoint` takes savepoints and
//! starts from them.

pub(crate) mod coordinator;
pub(crate) mod growth;
pub(crate) mod hold;
mod keep;
pub(crate) mod lanes;
pub(crate) mod local;
mod peek;
mod pointer;
pub(crate) mod reached;
mod recover;
mod running;
pub(crate) mod savepoint;
pub(crate) mod shared;
pub(crate) mod start;
mod throttle;
mod watch;
mod worker;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::{Env, From};

pub use peek::peek;
pub use running::Running;
pub use shared::Tuning;
pub use start::{Draw, draw, start};
pub use throttle::Throttle;

/// What a crash may do to output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Output, positions and state become real in one atomic write: nothing lost, nothing twice.
    #[default]
    ExactlyOnce,
    /// Output becomes visible as it is made, before positions: a crash may write some of it again.
    AtLeastOnce,
    /// Positions become real before output: a crash may lose some of it.
    AtMostOnce,
}

impl Delivery {
    /// Its name as `status` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
            Delivery::AtMostOnce => "at_most_once",
        }
    }
}

/// A savepoint of another version of the job, to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromSavepoint {
    /// Its folder.
    pub dir: PathBuf,
    /// Steps and sources whose state is to stay behind.
    pub drop: Vec<String>,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name, version, state directory.
    pub env: Env,
    /// Worker threads.
    pub workers: usize,
    /// How often an epoch closes.
    pub interval: Duration,
    /// Whether the run ends at the ends its sources had at the first start.
    pub until_end: bool,
    /// Where a first start begins.
    pub from: From,
    /// What a first start goes on from instead, for the sources and steps it holds.
    pub savepoint: Option<FromSavepoint>,
    /// Begin again although earlier output exists.
    pub new: bool,
    /// What a crash may do to output.
    pub delivery: Delivery,
    /// Sizes.
    pub tuning: Tuning,
}

impl Run {
    /// A run with default settings of a job whose state lies in `state`.
    pub fn new(job: &str, version: u32, state: impl Into<PathBuf>) -> Self {
        Run {
            env: Env { state: state.into(), job: job.to_owned(), version, create: true },
            workers: 1,
            interval: Duration::from_secs(1),
            until_end: false,
            from: From::Earliest,
            savepoint: None,
            new: false,
            delivery: Delivery::ExactlyOnce,
            tuning: Tuning::default(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether the job is finished: its sources ended and every window fired.
    pub finished: bool,
    /// Whether it was so before this start, which then did nothing.
    pub before: bool,
    /// The newest real epoch.
    pub epoch: u64,
}
