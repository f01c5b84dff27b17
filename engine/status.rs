//! What a job says of itself: of a running one through its control socket, of a stopped one from its files.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::registry::More;

/// One partition of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: u32,
    /// Offset of the next record.
    pub next: u64,
    /// One past the newest record known.
    pub end: Option<u64>,
    /// Records between the two.
    pub lag: Option<u64>,
    /// Its watermark, RFC 3339; `-infinity` before the first record.
    pub watermark: String,
    /// `reading`, `at end`, `waits for a transaction`, `idle` or `finished`; `stopped` of a job that does not run.
    pub standing: String,
    /// Offsets beyond `end` that cannot be read before somebody's transaction ends.
    #[serde(default)]
    pub in_open_transactions: u64,
    /// Whether it is the one that holds the job's watermark.
    pub holds_watermark: bool,
    /// Since when, microseconds since 1970.
    pub holds_since: Option<i64>,
}

/// A job's state for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The job's name.
    pub job: String,
    /// The job's version.
    pub version: u32,
    /// `running`, `stopped` or `finished`.
    pub state: String,
    /// The run's id.
    pub run: String,
    /// `exactly_once`, `at_least_once` or `at_most_once`.
    pub delivery: String,
    /// How many workers.
    pub workers: usize,
    /// The savepoint it began with, if it began with one.
    #[serde(default)]
    pub savepoint: Option<String>,
    /// What its [life](crate::redrive::Life) is called.
    #[serde(default)]
    pub life: String,
    /// Whether this run ends where its input ended when that was settled: then it takes no dead letters that are asked for again after its start.
    #[serde(default)]
    pub until_end: bool,
    /// The newest real epoch.
    pub epoch: u64,
    /// Whether an epoch is being made real, whose output may be seen already; `None` of a job that does not run.
    #[serde(default)]
    pub committing: Option<bool>,
    /// When the newest real epoch became so, microseconds since 1970.
    pub last_commit: Option<i64>,
    /// An epoch becomes real at least this often, milliseconds; 0 of a job that does not run.
    #[serde(default)]
    pub period_ms: u64,
    /// What the commit waits for, when the decider's system does not answer, or none was made for far longer than the period.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Since when, microseconds since 1970.
    #[serde(default)]
    pub waiting_since: Option<i64>,
    /// The job's watermark, RFC 3339.
    pub watermark: String,
    /// Each partition of each source.
    pub partitions: Vec<PartitionStatus>,
    /// Records that wait in all of them; `None` unless that is known of each.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Records read by this run.
    pub records_read: u64,
    /// Records written and committed by this run.
    pub records_written: u64,
    /// Records read a second, over the whole run.
    pub records_per_sec: u64,
    /// Seconds until everything that is there now has been read at that pace; `None` when that cannot be told.
    pub caught_up_in_secs: Option<u64>,
    /// Late records of this run.
    pub late: u64,
    /// Records skipped and dead letters of this run.
    pub bad: u64,
    /// Dead letters that this run read again, and how many of them failed again.
    #[serde(default)]
    pub redriven: (u64, u64),
    /// Bytes in flight.
    pub in_flight: i64,
    /// How many there may be.
    pub budget: i64,
    /// The most there have been.
    pub in_flight_peak: i64,
    /// Bytes of the committed checkpoint's files.
    pub checkpoint_bytes: u64,
    /// How far its outputs have come, as of the newest real epoch.
    pub reached: Reached,
}

/// Records that wait in all partitions; `None` unless it is known of each of them.
pub(crate) fn lag(partitions: &[PartitionStatus]) -> Option<u64> {
    let of = |partition: &PartitionStatus| partition.lag.or((partition.standing == "finished").then_some(0));
    let lag: Option<u64> = partitions.iter().map(of).sum();
    lag.filter(|_| !partitions.is_empty())
}

/// How far a job has come with an epoch: what its checkpoint knows of event time. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The least watermark of its partitions.
    pub watermark: Timestamp,
    /// The greatest event time it has read.
    pub newest: Timestamp,
    /// Each sink, by its name in the plan.
    pub outputs: BTreeMap<String, OutputReached>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

impl Default for Reached {
    fn default() -> Self {
        Reached { watermark: Timestamp::MIN, newest: Timestamp::MIN, outputs: BTreeMap::new(), more: More::new() }
    }
}

/// How far one output has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReached {
    /// Results below this event time are not in it, or not whole: they were written by the version whose savepoint it began with. The least time
    /// of a version that began otherwise; the greatest where no result is ever known to be whole.
    #[serde(default = "least")]
    pub since: Timestamp,
    /// Every result below this event time has been written, if it is an output whose records keep to the watermark.
    pub complete: Timestamp,
    /// The first event time after all records written; the least time before the first.
    pub beyond: Timestamp,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

impl Default for OutputReached {
    fn default() -> Self {
        OutputReached { since: Timestamp::MIN, complete: Timestamp::MIN, beyond: Timestamp::MIN, more: More::new() }
    }
}

impl OutputReached {
    /// Whether no result of it is ever known to be whole: something above it began with nothing, and what it lacks has no end.
    #[must_use]
    pub fn is_never_whole(&self) -> bool {
        self.since == Timestamp::MAX
    }
}

fn least() -> Timestamp {
    Timestamp::MIN
}
