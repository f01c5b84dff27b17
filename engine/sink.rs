//! What a job writes: the contract between a connector and the engine.
//!
//! A [`Sink`] encodes on the worker, into flat buffers ([`Outgoing`]). What is encoded goes to the coordinator, which hands it to the
//! sink's [`System`]: to the [`Decider`], whose atomic write makes an epoch real, or to a [`Follower`], which gets an epoch's output once
//! it is decided. A job has one decider; without one the durable manifest itself decides.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millpond_state::{Data, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::source::Env;
use crate::{Batch, Delivery, Fault, clock};

/// What a sink is in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPlan {
    /// The kind: `log`, `stdout`, `collect`, ...
    pub kind: String,
    /// Where it writes: a topic, a name.
    pub to: String,
}

/// One sink's place in a system, as the system opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// The sink's index in the plan.
    pub sink: u32,
    /// Where it writes: the `to` of its plan.
    pub to: String,
    /// Whether only the newest value of each key counts there.
    pub upsert: bool,
}

/// A place that takes records of type `T`, appended.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take records of type `{T}`",
    note = "an appending sink does not take changes: write them to an upsert topic with `.upsert(..)`"
)]
pub trait Sink<T: Data>: 'static {
    /// Its entry in the plan. No I/O.
    fn plan(&self) -> SinkPlan;
    /// The system it belongs to.
    fn system(&self) -> Rc<dyn System>;
    /// Whether only the newest value of each key counts there, so that the system may forget older ones.
    fn upsert(&self) -> bool {
        false
    }
    /// What encodes its records on a worker; `partitions` is how many the place has.
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<T>>;
}

/// Encodes batches of one sink on one worker.
pub trait Encode<T> {
    /// Appends every row of `batch` to `out`.
    ///
    /// # Errors
    /// A row that has no encoding; the job stops.
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault>;
}

/// An outside system as sinks share it: those with equal [`System::identity`] are written together.
pub trait System {
    /// What tells it from others: `log:/data/log`, `stdout`.
    fn identity(&self) -> String;
    /// Opens it for a run. `outlets` are its sinks.
    ///
    /// # Errors
    /// When it cannot be reached or written.
    fn open(&self, env: &Env, outlets: &[Outlet]) -> Result<Opened, Fault>;
    /// The newest commit record of this job@version, without taking anything from anybody: for `status` of a stopped job. `outlets`
    /// are its sinks. `None` for a system that does not decide.
    ///
    /// # Errors
    /// When it cannot be read.
    fn peek(&self, env: &Env, outlets: &[Outlet]) -> Result<Option<String>, Fault> {
        let _ = (env, outlets);
        Ok(None)
    }
    /// How long after a commit was decided [`System::peek`] may still show the one before it. Its checkpoint may be gone by then.
    fn late(&self) -> Duration {
        Duration::ZERO
    }
    /// The system as tools see it: registry of versions, committed outputs. `None` for a system that keeps no registry.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }
}

/// What a system is to the commit protocol.
pub enum Opened {
    /// Its atomic write makes epochs real.
    Decider(Box<dyn Decider>),
    /// It is given what was decided.
    Follower(Box<dyn Follower>),
}

/// The place whose one atomic write makes an epoch's output, source positions and checkpoint real.
pub trait Decider: Send {
    /// Whether [`Decider::fence`] ends whoever has the right to commit, wherever it runs. Otherwise the state directory's lock keeps a
    /// second instance out.
    fn takes_over(&self) -> bool {
        false
    }
    /// The newest commit record of this job@version, without taking anything from anybody.
    ///
    /// # Errors
    /// When it cannot be read. "Not known" is an error, never "none".
    fn look(&mut self) -> Result<Option<String>, Fault>;
    /// Takes the right to commit from whoever had it, then reads the newest commit record of this job@version.
    ///
    /// # Errors
    /// When another instance holds it, or the record cannot be read. "Not known" is an error, never "none".
    fn fence(&mut self) -> Result<Option<String>, Fault>;
    /// A sentence that names output of this job@version found in the outlets, or `None` when there is none.
    ///
    /// # Errors
    /// When the outlets cannot be looked at.
    fn evidence(&mut self) -> Result<Option<String>, Fault>;
    /// Creates missing outlets with this many partitions.
    ///
    /// # Errors
    /// When they cannot be created.
    fn create(&mut self, partitions: u32) -> Result<(), Fault>;
    /// How many partitions a sink's outlet has, once created.
    fn partitions(&self, sink: u32) -> u32;
    /// A run begins.
    fn begin(&mut self, begin: &Begin) {
        let _ = begin;
    }
    /// Takes output ahead of its commit; only for delivery modes weaker than exactly once.
    ///
    /// # Errors
    /// When it cannot be written; the job stops and computes it again.
    fn stage(&mut self, outgoing: &Outgoing) -> Result<(), Fault>;
    /// Makes the commit's output, everything staged, and the record real, atomically and durably.
    ///
    /// # Errors
    /// When the answer is not positive; nothing may be assumed then.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Fault>;
    /// Makes everything staged visible without a record; only for delivery modes weaker than exactly once.
    ///
    /// # Errors
    /// As for `commit`.
    fn publish(&mut self) -> Result<(), Fault>;
}

/// What a decider is told when a run begins.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The run's id, for the header `millpond: job@version run epoch` of every record it writes.
    pub run: String,
    /// What a crash may do to output.
    pub delivery: Delivery,
    /// How a decider that waits for its system says so.
    pub patience: Patience,
}

/// One or several prepared epochs, to be made real together.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The newest of them.
    pub epoch: u64,
    /// The commit record's text.
    pub record: &'a str,
    /// Their output, in the order in which it is to be written.
    pub output: &'a [Outgoing],
    /// Where sources stand that read from the decider's own system: for lag tools. What decides is the manifest that the record names.
    pub mirror: &'a [Mirrored],
    /// How soon the next commit is due at the latest: for how long who has taken over may be silent.
    pub period: Duration,
}

/// Where one partition of a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// What the source reads: the `from` of its plan.
    pub from: String,
    /// Its partition.
    pub partition: u32,
    /// Offset of the next record.
    pub next: u64,
}

/// How long a decider may wait for a system that is away, and what it says meanwhile. Shared with `status` and with whoever stops the job.
///
/// ```
/// use millpond_engine::sink::Patience;
/// let patience = Patience::default();
/// patience.waits("the broker is away");
/// assert_eq!(patience.waiting().unwrap().0, "the broker is away");
/// assert!(!patience.exhausted());
/// patience.over();
/// assert_eq!(patience.waiting(), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    what: Mutex<Option<(String, Timestamp)>>,
    /// When the job was asked to stop.
    stopped: Mutex<Option<Instant>>,
}

impl Patience {
    /// How long a stop waits for a system that is away. A stopped job has to be gone after 20 s.
    const STOP: Duration = Duration::from_secs(12);

    /// Says what is waited for; said again, it keeps the time at which it was said first.
    pub fn waits(&self, what: impl Into<String>) {
        let mut waiting = self.0.what.lock().expect("no holder of this lock panics");
        let since = waiting.take().map_or_else(clock::wall, |(_, since)| since);
        *waiting = Some((what.into(), since));
    }
    /// Nothing is waited for any more.
    pub fn over(&self) {
        *self.0.what.lock().expect("no holder of this lock panics") = None;
    }
    /// What is waited for, and since when.
    #[must_use]
    pub fn waiting(&self) -> Option<(String, Timestamp)> {
        self.0.what.lock().expect("no holder of this lock panics").clone()
    }
    /// Whether the job was asked to stop so long ago that it has to leave without an answer.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        let stopped = self.0.stopped.lock().expect("no holder of this lock panics");
        stopped.is_some_and(|stopped| stopped.elapsed() >= Self::STOP)
    }
    pub(crate) fn stop(&self) {
        self.0.stopped.lock().expect("no holder of this lock panics").get_or_insert_with(clock::instant);
    }
}

/// A place that gets an epoch's output after the decision.
pub trait Follower: Send {
    /// Delivers output of one decided epoch.
    ///
    /// # Errors
    /// When it cannot be delivered; the job stops.
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault>;
}

/// Encoded records of one sink, from one worker, of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The sink's index in the plan.
    pub sink: u32,
    /// The epoch they belong to.
    pub epoch: u64,
    bytes: Vec<u8>,
    entries: Vec<Place>,
    headers: Vec<(u32, String, Vec<u8>)>,
    /// One beyond the greatest event time in it; nothing so far when it is the least time.
    beyond: Timestamp,
}

/// How much a batch holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    bytes: usize,
    entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: u32,
    at: Timestamp,
    start: usize,
    /// Where the key ends; the value follows. `NONE` in `key` or `value` means there is none.
    key: u32,
    value: u32,
}

const NONE: u32 = u32::MAX;

/// One encoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutRecord<'a> {
    /// The partition it goes to.
    pub partition: u32,
    /// Event time.
    pub at: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its number in the batch, for [`Outgoing::headers`].
    pub index: usize,
}

impl Outgoing {
    /// Nothing yet, for a sink and epoch.
    #[must_use]
    pub fn new(sink: u32, epoch: u64) -> Self {
        Outgoing { sink, epoch, beyond: Timestamp::MIN, ..Outgoing::default() }
    }

    /// Nothing yet, with room for as much as `before` holds: batches of a sink are much alike, and what grows piece by piece leaves holes.
    pub(crate) fn after(before: &Room, sink: u32, epoch: u64) -> Self {
        let (bytes, entries) = (Vec::with_capacity(before.bytes), Vec::with_capacity(before.entries));
        Outgoing { bytes, entries, ..Outgoing::new(sink, epoch) }
    }

    pub(crate) fn room(&self) -> Room {
        Room { bytes: self.bytes.len(), entries: self.entries.len() }
    }

    /// Appends one record: `key` and `value` write into the buffer and say whether there is one. `partition` is chosen from the bytes of
    /// the key, or of the value where there is no key.
    ///
    /// # Errors
    /// Whatever the closures return.
    pub fn push<E>(
        &mut self,
        at: Timestamp,
        key: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
        partition: impl FnOnce(Option<&[u8]>, &[u8]) -> u32,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let key_len = if key(&mut self.bytes)? { (self.bytes.len() - start) as u32 } else { NONE };
        let middle = self.bytes.len();
        let value_len = if value(&mut self.bytes)? { (self.bytes.len() - middle) as u32 } else { NONE };
        let key_bytes = (key_len != NONE).then(|| &self.bytes[start..middle]);
        let partition = partition(key_bytes, &self.bytes[middle..]);
        self.entries.push(Place { partition, at, start, key: key_len, value: value_len });
        self.beyond = self.beyond.max(at.plus_micros(1));
        Ok(())
    }

    /// Gives the record appended last a header.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        let last = self.entries.len().checked_sub(1).expect("a header follows a record") as u32;
        self.headers.push((last, name.to_owned(), value.to_owned()));
    }

    /// The records in the order in which they were appended.
    pub fn records(&self) -> impl Iterator<Item = OutRecord<'_>> {
        self.entries.iter().enumerate().map(|(index, place)| {
            let key_len = if place.key == NONE { 0 } else { place.key as usize };
            let middle = place.start + key_len;
            OutRecord {
                partition: place.partition,
                at: place.at,
                key: (place.key != NONE).then(|| &self.bytes[place.start..middle]),
                value: (place.value != NONE).then(|| &self.bytes[middle..middle + place.value as usize]),
                index,
            }
        })
    }

    /// The headers of a record.
    pub fn headers(&self, index: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let index = index as u32;
        let from = self.headers.partition_point(|(of, _, _)| *of < index);
        self.headers[from..]
            .iter()
            .take_while(move |(of, _, _)| *of == index)
            .map(|(_, name, value)| (name.as_str(), value.as_slice()))
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first event time after all of its records; [`Timestamp::MIN`] when there are none.
    #[must_use]
    pub fn beyond(&self) -> Timestamp {
        self.beyond
    }

    /// What it counts as in flight until it is committed.
    #[must_use]
    pub fn weight(&self) -> u64 {
        (self.bytes.len() + self.entries.len() * size_of::<Place>()) as u64
    }
}
