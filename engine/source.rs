//! What a job reads: the contract between a connector and the engine.
//!
//! A [`Source`] is drawn: it describes itself and does no I/O until the engine calls. The leader calls [`Source::connect`] once a start,
//! before any worker exists, to learn the partitions and to check saved positions; each worker calls [`Source::open`] with the partitions
//! it owns and then [`Reader::read`]s them one at a time, when credits and alignment allow. A reader never blocks: what is not here yet is
//! [`Read::Later`], and it wakes the worker when it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millpond_state::{Data, Timestamp};
use serde::{Deserialize, Serialize};

use crate::redrive::Request;
use crate::{Exit, Fault};

/// What a start may use besides a connector's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Env {
    /// The directory given with `--state`.
    pub state: PathBuf,
    /// The job's name.
    pub job: String,
    /// The job's version, from 1.
    pub version: u32,
    /// Whether missing outputs may be created.
    pub create: bool,
}

impl Env {
    /// `job@version`.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}@{}", self.job, self.version)
    }

    /// The name a version's output has: version 1 writes to exactly the name given, version n to `<name>.v<n>`.
    ///
    /// ```
    /// let env = millpond_engine::Env { state: "s".into(), job: "views".into(), version: 2, create: true };
    /// assert_eq!(env.output("page-views"), "page-views.v2");
    /// ```
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        if self.version == 1 { name.to_owned() } else { format!("{name}.v{}", self.version) }
    }

    /// The name of the topic that holds what of the dead letters is to go through this job@version again: a topic of its own, named like
    /// its outputs.
    ///
    /// ```
    /// let env = millpond_engine::Env { state: "s".into(), job: "views".into(), version: 2, create: true };
    /// assert_eq!(env.redrive(), "views-redrive.v2");
    /// ```
    #[must_use]
    pub fn redrive(&self) -> String {
        self.output(&format!("{}-redrive", self.job))
    }

    /// The name under which tools write that topic: `job@version.redrive`.
    #[must_use]
    pub fn redriver(&self) -> String {
        format!("{}.redrive", self.identity())
    }

    /// Where the state of this job@version lies.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.state.join(self.identity())
    }
}

/// Where a first start begins reading. Looked at only then; resolved to numbers and committed before the first record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// The oldest record there is.
    #[default]
    Earliest,
    /// Only what is written after the start.
    Latest,
    /// The first record at or after this time.
    Time(Timestamp),
    /// These offsets, by partition; partitions not named begin with their oldest record.
    Offsets(Vec<(u32, u64)>),
}

/// In the words of the command line.
impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            From::Earliest => f.write_str("earliest"),
            From::Latest => f.write_str("latest"),
            From::Time(time) => time.fmt(f),
            From::Offsets(offsets) => {
                let list: Vec<_> = offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

/// One partition as [`Source::connect`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub partition: u32,
    /// Where a first start begins: the position of the first record to read.
    pub start: u64,
    /// The position one past its newest record, as of now.
    pub end: u64,
    /// What tells this partition's log from another one of the same name; compared at every start.
    pub fingerprint: String,
}

/// A partition given to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Its number.
    pub partition: u32,
    /// The position of the next record.
    pub next: u64,
    /// Where a bounded run ends: the position after the last record to read.
    pub end: Option<u64>,
}

/// How a worker is woken by a reader's I/O thread.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Waker(Arc::new(wake))
    }
    /// Something is there to read.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its position in its partition.
    pub offset: u64,
    /// The timestamp its writer gave it; [`Timestamp::MIN`] where there is none.
    pub stamp: Timestamp,
    /// When the log itself took it; [`Timestamp::MAX`] where the log does not say, which switches the future guard off.
    pub logged: Timestamp,
    /// Bytes it came from.
    pub bytes: u32,
}

/// The bytes of a record as it lies in the log, for dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The timestamp its writer gave it.
    pub stamp: Option<Timestamp>,
}

/// Takes what a reader reads. Generic, so that decoding, event time and the first steps become one loop.
pub trait Collect<T> {
    /// One record.
    fn take(&mut self, arrival: Arrival, value: T);
    /// The source knows that nothing before `watermark` will follow in this partition.
    fn promise(&mut self, watermark: Timestamp);
    /// The record that comes next, at `offset`, is asked for again by this request. False when it is not to be handed over, since it is
    /// asked of another life of the job.
    fn again(&mut self, offset: u64, request: &Request) -> bool {
        let _ = (offset, request);
        true
    }
    /// No record before the position `next` is left to read: what lies there holds none.
    fn passed(&mut self, next: u64) {
        let _ = next;
    }
    /// One record that does not decode, and why. What becomes of it is the job's policy.
    fn refuse(&mut self, arrival: Arrival, reason: String);
}

/// What a call of [`Reader::read`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Records were handed over, and there may be more.
    More,
    /// Nothing is here yet, though the log may hold more; the waker will be called.
    Later,
    /// The partition's log has nothing more just now; the waker will be called when it has.
    AtEnd,
    /// The source itself ends here, for good (a file, a vector).
    Finished,
}

/// What a source is in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// The kind: `log`, `file`, `generator`, ...
    pub kind: String,
    /// What it reads: topic, file.
    pub from: String,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// The out-of-order bound, microseconds.
    pub bound_micros: i64,
}

/// A source that has said when its records happened, or that carries no event time because nobody asks for it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has not said when its records happened",
    note = "call `.event_time(|record| ..)` on it, and `.out_of_order(bound)` if they do not come in order"
)]
pub trait Source: 'static {
    /// What it reads.
    type Item: Data;
    /// What reads it on a worker.
    type Reader: Reader<Self::Item>;

    /// Its entry in the plan. No I/O.
    fn plan(&self) -> SourcePlan;

    /// Time settings: out-of-order bound, idleness, future guard.
    fn pace(&self) -> Pace;

    /// The [`identity`](crate::sink::System::identity) of the system it reads from, where that writes too.
    fn system(&self) -> Option<String> {
        None
    }

    /// The same source, reading from `topic` of its system what is to go through the job again: the [requests](crate::redrive) that are
    /// made of the source called `name`. `None` where it has no such topics.
    fn redriven(&self, name: &str, topic: &str) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = (name, topic);
        None
    }

    /// Whether partitions may be added to it while a job runs. Then [`connect`](Self::connect) is called every few seconds, by a thread of
    /// its own, and [`Reader::add`] for what it finds.
    fn grows(&self) -> bool {
        false
    }

    /// Finds the partitions and resolves where a first start begins. Called by the leader, before any worker exists.
    ///
    /// # Errors
    /// When the input is not there ([`Exit::Usage`], and [`Fault::missing`]), or a position in `from` is not in it.
    fn connect(&self, env: &Env, from: &From) -> Result<Vec<Partition>, Fault>;

    /// For each partition, the position before which retention may take records within so long. Nothing of partitions that keep everything, or
    /// of which that cannot be told.
    ///
    /// # Errors
    /// When the input cannot be asked.
    fn taken(&self, within: Duration) -> Result<Vec<(u32, u64)>, Fault> {
        let _ = within;
        Ok(Vec::new())
    }

    /// Opens the partitions a worker owns.
    ///
    /// # Errors
    /// When a position lies outside what the log still holds.
    fn open(&self, env: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault>;
}

/// Reads the partitions one worker owns.
pub trait Reader<T>: 'static {
    /// One more partition, behind those that were assigned before. Only of sources that [grow](Source::grows).
    ///
    /// # Errors
    /// When it cannot be read.
    fn add(&mut self, assigned: &Assigned) -> Result<(), Fault> {
        let partition = assigned.partition;
        Err(Fault::new(Exit::FixJob, format!("partition {partition} was added to a source that does not grow")))
    }

    /// Hands over at most `most` records of the `slot`-th assigned partition. Never blocks.
    ///
    /// # Errors
    /// When the log cannot be read; the job stops.
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault>;

    /// The next read of `slot` begins at `offset`, which was read before.
    ///
    /// # Errors
    /// When the log cannot be read there.
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault>;

    /// [`original`](Self::original) will be asked for records that were handed over, not only for those refused. Called once, before the
    /// first read.
    fn keep_originals(&mut self) {}

    /// The bytes of a record of the batch read last, when the source has such bytes. Of records that were handed over only after
    /// [`keep_originals`](Self::keep_originals).
    fn original(&mut self, slot: usize, offset: u64) -> Option<Original>;

    /// One past the newest record known that can be read, for lag; `None` where that has no meaning.
    fn end(&mut self, slot: usize) -> Option<u64>;

    /// One past the newest record of the log itself, where some of it may not be readable yet: an open transaction.
    fn log_end(&mut self, slot: usize) -> Option<u64> {
        self.end(slot)
    }
}

/// How a source's partitions keep event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Microseconds the watermark stays behind the newest event time.
    pub bound_micros: i64,
    /// After how long without records a partition stops holding the watermark; never when `None`.
    pub idle_after: Option<std::time::Duration>,
    /// How far beyond its log timestamp a record may lie and still move the watermark, microseconds.
    pub guard_micros: i64,
    /// Whether records have an event time at all.
    pub timed: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { bound_micros: 0, idle_after: None, guard_micros: 24 * 3_600 * 1_000_000, timed: true }
    }
}
