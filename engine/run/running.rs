//! A job that runs in the background: how to stop it, wait for it, and ask how it is.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use millpond_state::Timestamp;

use super::Ended;
use super::coordinator::Committed;
use super::lanes::{Lane, Standing};
use super::shared::{Event, Shared};
use crate::metrics::Metrics;
use crate::sink::Patience;
use crate::status::{PartitionStatus, Status, lag};
use crate::{Exit, Fault, clock};

/// Beyond twice the period in which an epoch is due: closing one takes a while where much is in flight.
const STALLED: Duration = Duration::from_secs(10);

/// A job that runs in the background.
pub struct Running {
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) events: Option<Sender<Event>>,
    pub(super) thread: Option<JoinHandle<Result<Ended, Fault>>>,
    pub(super) early: Option<Ended>,
    /// The epoch that it goes on from; `None` where it begins.
    pub(super) from: Option<u64>,
    pub(super) committed: Arc<Mutex<Committed>>,
    pub(super) status: Status,
    pub(super) metrics: Metrics,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Running {
    /// Asks the job to stop: commit the open epoch and leave, open windows kept. Does not wait.
    pub fn stop(&self) {
        self.stopper()();
    }

    /// Something that stops the job, for a signal handler.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let (events, patience) = (self.events.clone(), self.shared.as_ref().map(|shared| shared.patience.clone()));
        move || {
            patience.iter().for_each(Patience::stop);
            if let Some(events) = &events {
                // A coordinator that has left needs no telling.
                let _ = events.send(Event::Stop);
            }
        }
    }

    /// Something that has the open epoch closed now, rather than when its time has come.
    pub(crate) fn closer(&self) -> impl Fn() + Send + Sync + 'static {
        let events = self.events.clone();
        move || {
            if let Some(events) = &events {
                // A coordinator that has left needs no telling.
                let _ = events.send(Event::Full);
            }
        }
    }

    /// Commits: returns once everything that had been read when it was called is real, or the job has ended.
    pub fn flush(&self) {
        let Some(events) = &self.events else { return };
        let committed = || self.committed.lock().expect("no holder of this lock panics").epoch;
        // The newest real epoch may have one successor that is closing, and the open one comes after that.
        let enough = committed() + 2;
        while committed() < enough && !self.ended() {
            let _ = events.send(Event::Full);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What stopped the job.
    pub fn join(mut self) -> Result<Ended, Fault> {
        if let Some(early) = self.early.take() {
            return Ok(early);
        }
        let thread = self.thread.take().expect("a run is joined once");
        thread
            .join()
            .unwrap_or_else(|_| Err(Fault::new(Exit::Retry, "the coordinator panicked; this is a bug of millpond")))
    }

    /// The job's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The epoch that it goes on from; `None` where it begins, for the first time or again.
    pub(crate) const fn goes_on_from(&self) -> Option<u64> {
        self.from
    }

    /// What `status` answers, as a function that other threads can call.
    pub fn reporter(&self) -> impl Fn() -> Status + Send + Sync + 'static {
        let (shared, committed) = (self.shared.clone(), Arc::clone(&self.committed));
        let (status, metrics) = (self.status.clone(), self.metrics.clone());
        let held = Mutex::new(None);
        move || report(&status, shared.as_deref(), &committed, &metrics, &held)
    }

    /// What `status` answers.
    #[must_use]
    pub fn status(&self) -> Status {
        self.reporter()()
    }
}

type Held = Mutex<Option<(String, u32, Timestamp, i64)>>;

fn report(
    base: &Status,
    shared: Option<&Shared>,
    committed: &Mutex<Committed>,
    metrics: &Metrics,
    held: &Held,
) -> Status {
    // Before the rest: whatever could be seen when no epoch was being committed is in what is said then.
    let committing = shared.map(|shared| shared.committing.load(Ordering::SeqCst));
    let committed = committed.lock().expect("no holder of this lock panics").clone();
    let mut status = base.clone();
    status.committing = committing;
    status.epoch = committed.epoch;
    status.last_commit = committed.clock.map(Timestamp::micros);
    status.checkpoint_bytes = committed.files.iter().map(|file| file.bytes).sum();
    status.records_written = committed.written;
    status.reached = committed.reached;
    let Some(shared) = shared else { return status };
    status.records_read = metrics.total("millpond_records_read_total") as u64;
    status.late = metrics.total("millpond_late_records_total") as u64;
    status.bad =
        (metrics.total("millpond_skipped_records_total") + metrics.total("millpond_dead_letters_total")) as u64;
    let total = |name: &str| metrics.total(name) as u64;
    status.redriven = (total("millpond_redriven_records_total"), total("millpond_redriven_failed_total"));
    // Every commit waits for an answer; what is worth a word takes longer.
    let long = |(_, since): &(String, Timestamp)| clock::wall().micros().saturating_sub(since.micros()) >= 1_000_000;
    if let Some((what, since)) = shared.patience.waiting().filter(long) {
        (status.waiting, status.waiting_since) = (Some(what), Some(since.micros()));
    } else if let Some(since) = stalled(&status, shared.began) {
        let (next, due) = (status.epoch + 1, Duration::from_millis(status.period_ms));
        status.waiting = Some(format!("epoch {next} is not committed, and one is due every {due:?}"));
        status.waiting_since = Some(since);
    }
    status.in_flight = shared.credits.in_flight();
    status.budget = shared.credits.budget();
    status.in_flight_peak = shared.credits.peak();
    let lanes = shared.lanes.all();
    let holder = lanes.iter().filter(|lane| lane.standing() != Standing::Idle).min_by_key(|lane| lane.watermark());
    let secs = clock::instant().saturating_duration_since(shared.began).as_secs_f64();
    status.records_per_sec = (status.records_read as f64 / secs.max(0.001)) as u64;
    let now = clock::wall().micros();
    let mut since = None;
    if let Some(lane) = holder {
        status.watermark = lane.watermark().to_string();
        let mut held = held.lock().expect("no holder of this lock panics");
        let is = (lane.source.clone(), lane.partition, lane.watermark());
        match &*held {
            Some((source, partition, watermark, from)) if (source, *partition, *watermark) == (&is.0, is.1, is.2) => {
                since = Some(*from);
            }
            _ => {
                *held = Some((is.0, is.1, is.2, now));
                since = Some(now);
            }
        }
    }
    status.partitions = lanes.iter().map(|lane| partition_status(lane, holder, since)).collect();
    status.lag = lag(&status.partitions);
    status.caught_up_in_secs = status.lag.and_then(|lag| lag.checked_div(status.records_per_sec));
    status
}

/// Since when no epoch was committed, where that is far longer than it may be.
fn stalled(status: &Status, began: Instant) -> Option<i64> {
    let now = clock::wall().micros();
    let ran = i64::try_from(clock::instant().saturating_duration_since(began).as_micros()).unwrap_or(i64::MAX);
    let since = status.last_commit.unwrap_or(now.saturating_sub(ran));
    let allowed = Duration::from_millis(status.period_ms).saturating_mul(2).saturating_add(STALLED);
    (now.saturating_sub(since) > i64::try_from(allowed.as_micros()).unwrap_or(i64::MAX)).then_some(since)
}

fn partition_status(lane: &Lane, holder: Option<&Arc<Lane>>, since: Option<i64>) -> PartitionStatus {
    let holds = holder.is_some_and(|holder| std::ptr::eq(&**holder, lane)) && lane.standing() != Standing::Finished;
    let end = lane.end();
    let at_end = matches!(lane.standing(), Standing::AtEnd | Standing::Idle);
    let open = if at_end { lane.log_end().saturating_sub(lane.next()) } else { 0 };
    PartitionStatus {
        source: lane.source.clone(),
        partition: lane.partition,
        next: lane.next(),
        end,
        lag: end.map(|end| end.saturating_sub(lane.next())),
        watermark: lane.watermark().to_string(),
        in_open_transactions: open,
        standing: match lane.standing() {
            Standing::AtEnd if open > 0 => "waits for a transaction",
            Standing::Reading => "reading",
            Standing::AtEnd => "at end",
            Standing::Idle => "idle",
            Standing::Finished => "finished",
        }
        .to_owned(),
        holds_watermark: holds,
        holds_since: if holds { since } else { None },
    }
}
