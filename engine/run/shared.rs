//! What the threads of one process share: the cut, credits, alignment, the way to the coordinator.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use millpond_state::store::{FileRef, PartitionState, RunId};
use millpond_state::{Delta, Timestamp};

use super::throttle::{Debt, Throttle};
use crate::metrics::Metrics;
use crate::sink::{Outgoing, Patience};
use crate::source::Waker;
use crate::{Fault, Fires, clock};

/// Sizes and spans that are the same for every job; tests vary them.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes in flight: shuffled and not applied, stashed, encoded and not committed. One setting.
    pub budget_bytes: u64,
    /// Records a source reads at a time.
    pub batch: usize,
    /// How far a partition may run ahead of the least watermark.
    pub align: Duration,
    /// An epoch closes when this much output waits for its commit.
    pub epoch_output_bytes: u64,
    /// An epoch closes when this much input was read in it.
    pub epoch_input_bytes: u64,
    /// How often added partitions are looked for.
    pub look: Duration,
    /// How fast sources read together; as fast as they can without it.
    pub throttle: Option<Throttle>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            budget_bytes: 64 << 20,
            batch: 2048,
            align: Duration::from_secs(60),
            epoch_output_bytes: 16 << 20,
            epoch_input_bytes: 256 << 20,
            look: Duration::from_secs(5),
            throttle: None,
        }
    }
}

/// What threads tell the coordinator.
pub(crate) enum Event {
    /// Encoded output.
    Output(Outgoing),
    /// A worker's part of an epoch is durable.
    Vote(Vote),
    /// A worker's sink has seen the final watermark.
    End,
    /// This much input or output was reached: close the epoch.
    Full,
    /// The keeper has looked: files merged, or nothing to do.
    Merged(Option<super::keep::Merged>),
    /// Somebody cannot go on.
    Fault(Fault),
    /// Stop: commit and leave.
    Stop,
}

/// One worker's part of an epoch, closed but not yet written.
pub(crate) struct Closed {
    pub(crate) epoch: u64,
    pub(crate) worker: usize,
    pub(crate) delta: Delta,
    pub(crate) groups: (u16, u16),
    pub(crate) sources: Vec<(String, Vec<PartitionState>)>,
    /// Sinks: node, name, and the event time below which nothing more comes.
    pub(crate) sinks: Vec<(u32, String, Timestamp)>,
    pub(crate) fired: Vec<(String, Fires)>,
    /// Records sent to the coordinator in this epoch.
    pub(crate) sent: u64,
}

/// A worker's part, durable.
pub(crate) struct Vote {
    pub(crate) closed: Closed,
    pub(crate) file: Option<FileRef>,
}

/// Bytes in flight against the budget.
#[derive(Debug)]
pub(crate) struct Credits {
    in_flight: AtomicI64,
    peak: AtomicI64,
    budget: i64,
    waiting: AtomicBool,
}

impl Credits {
    fn new(budget: u64) -> Self {
        let budget = i64::try_from(budget).unwrap_or(i64::MAX);
        Credits { in_flight: AtomicI64::new(0), peak: AtomicI64::new(0), budget, waiting: AtomicBool::new(false) }
    }
    pub(crate) fn take(&self, bytes: u64) {
        let now = self.in_flight.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }
    /// Whether there is room; when not, the caller is woken once there is.
    pub(crate) fn available(&self) -> bool {
        if self.in_flight.load(Ordering::Relaxed) < self.budget {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // Looked at again after the flag is up, so that a release in between is not missed.
        self.in_flight.load(Ordering::SeqCst) < self.budget
    }
    /// Gives bytes back. True when somebody waits and should be woken.
    pub(crate) fn give(&self, bytes: u64) -> bool {
        let now = self.in_flight.fetch_sub(bytes as i64, Ordering::SeqCst) - bytes as i64;
        now < self.budget && self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::SeqCst)
    }
    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }
    pub(crate) fn peak(&self) -> i64 {
        self.peak.load(Ordering::Relaxed)
    }
    pub(crate) fn budget(&self) -> i64 {
        self.budget
    }
}

/// What the threads of a process share.
pub(crate) struct Shared {
    pub(crate) job: String,
    pub(crate) run: RunId,
    pub(crate) workers: usize,
    pub(crate) tuning: Tuning,
    pub(crate) credits: Credits,
    /// What was read faster than it may be.
    pub(crate) debt: Option<Debt>,
    /// When the run began.
    pub(crate) began: Instant,
    pub(crate) lanes: super::lanes::Lanes,
    pub(crate) growth: super::growth::Growth,
    pub(crate) metrics: Metrics,
    /// The greatest epoch that sources have been told to close.
    cut: AtomicU64,
    /// No more reading: the next cut is the last.
    stopping: AtomicBool,
    /// Leave without closing anything.
    aborted: AtomicBool,
    pub(crate) input_bytes: AtomicU64,
    /// An epoch is being made real: its output may be seen, and what is said of the job does not have it yet.
    pub(crate) committing: AtomicBool,
    pub(crate) events: Sender<Event>,
    pub(crate) closed: Sender<Closed>,
    pub(crate) patience: Patience,
    wakers: Mutex<Vec<Waker>>,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "called once, by the start of a run")]
    pub(crate) fn new(
        job: String,
        run: RunId,
        workers: usize,
        tuning: Tuning,
        lanes: super::lanes::Lanes,
        metrics: Metrics,
        cut: u64,
        events: Sender<Event>,
        closed: Sender<Closed>,
        patience: Patience,
    ) -> Arc<Self> {
        Arc::new(Shared {
            job,
            run,
            workers,
            credits: Credits::new(tuning.budget_bytes),
            debt: tuning.throttle.map(Debt::new),
            began: clock::instant(),
            tuning,
            lanes,
            growth: super::growth::Growth::default(),
            metrics,
            cut: AtomicU64::new(cut),
            stopping: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            input_bytes: AtomicU64::new(0),
            committing: AtomicBool::new(false),
            events,
            closed,
            patience,
            wakers: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Acquire)
    }
    /// Tells every source to close `epoch`.
    pub(crate) fn close(&self, epoch: u64) {
        self.cut.store(epoch, Ordering::Release);
        self.wake();
    }
    pub(crate) fn stop_reading(&self) {
        self.stopping.store(true, Ordering::Release);
    }
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.wake();
    }
    pub(crate) fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }
    /// Bytes that were in flight are not any more.
    pub(crate) fn give(&self, bytes: u64) {
        if bytes > 0 && self.credits.give(bytes) {
            self.wake();
        }
    }
    pub(crate) fn add_waker(&self, waker: Waker) {
        self.wakers.lock().expect("no holder of this lock panics").push(waker);
    }
    /// Wakes every operator that may wait: sources, firing operators, workers that should leave.
    pub(crate) fn wake(&self) {
        for waker in self.wakers.lock().expect("no holder of this lock panics").iter() {
            waker.wake();
        }
    }
    pub(crate) fn tell(&self, event: Event) {
        // The coordinator leaves last; when it has gone the process is ending.
        let _ = self.events.send(event);
    }
    pub(crate) fn fail(&self, fault: Fault) {
        self.tell(Event::Fault(fault));
    }
    /// Whether sources may read: there is room, and they have not read faster than they may.
    pub(crate) fn may_read(&self) -> bool {
        self.credits.available() && self.debt.as_ref().is_none_or(Debt::is_paid)
    }
    /// Counts input; asks for the epoch to be closed when it is full.
    pub(crate) fn count_input(&self, records: u64, bytes: u64) {
        if let Some(debt) = &self.debt {
            debt.add(records, bytes);
        }
        let before = self.input_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.tuning.epoch_input_bytes && before + bytes >= self.tuning.epoch_input_bytes {
            self.tell(Event::Full);
        }
    }
}
