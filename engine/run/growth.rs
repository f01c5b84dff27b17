//! Partitions that are added to a source while the job runs, found by a thread of its own.
//!
//! Every few seconds the thread connects to each source that may grow, as a start does. A partition that nobody knows gets a lane and is
//! handed to the worker that is to own it; that worker reads it from its oldest record, and it is in the checkpoint of the epoch in which
//! it was taken over. Before that it is in none: a crash in between, and the next start finds it again.
//!
//! Its watermark begins where its worker's promise stands, since what was promised cannot be taken back. So what of its records is late
//! depends on when it was found: one of the exceptions to results being a function of the log, counted in
//! `millpond_added_partitions_total`.
//!
//! In the same way it finds what is asked for again of a source ([`crate::redrive`]), of which there is no topic before somebody asks.
//!
//! The thread also looks whether the input is still the one that the checkpoint speaks of, and keeps the ends fresh that `status` shows. In a
//! run that has an end nothing is added, and the look is all there is: an input that is deleted would be waited for for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use millpond_state::Timestamp;
use millpond_state::store::{Manifest, PartitionState, SourceState};

use super::Run;
use super::lanes::{Lane, Standing};
use super::shared::Shared;
use super::start::{Draw, drawn};
use crate::host::graph::{DrawnSource, Graph};
use crate::metrics::{Counter, Metrics};
use crate::source::{Env, From, Partition};
use crate::{Exit, Fault, clock};

/// How long a source that let us in before may refuse us.
const LOCKED: Duration = Duration::from_mins(5);

/// What is counted, where partitions are taken over.
pub(crate) fn counter(metrics: &Metrics, source: &str) -> Counter {
    let help =
        "partitions that were added while this run went on; what of them is late depends on when they were found";
    metrics.counter("millpond_added_partitions_total", help, &[("source", source)])
}

/// A partition that was found, for the worker that is to own it.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    pub(crate) source: String,
    /// Its place among the source's partitions, which decides the owner.
    pub(crate) place: usize,
    pub(crate) partition: Partition,
    pub(crate) lane: Arc<Lane>,
}

/// All partitions that were found in this run, in the order in which they were.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    list: Mutex<Vec<Added>>,
    count: AtomicUsize,
}

impl Growth {
    /// How many there are. What a worker has not seen yet begins at the number it saw last.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
    /// Those of `source` from number `seen` on.
    pub(crate) fn since(&self, seen: usize, source: &str) -> Vec<Added> {
        let list = self.list.lock().expect("no holder of this lock panics");
        list[seen..].iter().filter(|added| added.source == source).cloned().collect()
    }
    fn add(&self, added: Added) {
        let mut list = self.list.lock().expect("no holder of this lock panics");
        list.push(added);
        self.count.store(list.len(), Ordering::Release);
    }
}

/// The worker that is to own a partition that was added, by its place: in turn, as at a start. A worker that has had none so far has promised
/// too much to take one.
pub(crate) fn owner(place: usize, first: usize, workers: usize) -> usize {
    place % workers.min(first.max(1))
}

/// A partition of requests, before the first is read. It is idle: it never holds anybody up.
pub(crate) fn requested(found: &Partition) -> PartitionState {
    PartitionState {
        partition: found.partition,
        next: found.start,
        watermark: Timestamp::MIN,
        newest: Timestamp::MIN,
        idle: true,
        fingerprint: found.fingerprint.clone(),
        ..PartitionState::default()
    }
}

/// What is known of a source's partitions, by number.
type Known = BTreeMap<u32, String>;

/// What the thread needs. It holds nothing of the run itself, whose end it may outlive by the length of one question.
pub(crate) struct Look {
    env: Env,
    known: BTreeMap<String, Known>,
    every: Duration,
    /// Whether what is found is taken in; not where the first start settled the ends.
    adds: bool,
}

impl Look {
    /// `None` when no source can grow.
    pub(crate) fn of(run: &Run, graph: &Graph<'_>, manifest: &Manifest) -> Option<Look> {
        let sources = graph.inputs();
        let adds = !run.until_end;
        let looked_at = |state: &SourceState| !adds || state.partitions.iter().all(|partition| partition.end.is_none());
        let growing = sources.iter().filter(|source| source.grows);
        let none = SourceState::default();
        let known = growing.filter_map(|source| {
            let of = source.asked_of.as_ref().unwrap_or(&source.uid);
            manifest.sources.get(of).filter(|state| looked_at(state))?;
            let state = manifest.sources.get(&source.uid).unwrap_or(&none);
            let prints = state.partitions.iter().map(|partition| (partition.partition, partition.fingerprint.clone()));
            Some((source.uid.clone(), prints.collect()))
        });
        let known: BTreeMap<_, _> = known.collect();
        (!known.is_empty()).then(|| Look { env: run.env.clone(), known, every: run.tuning.look, adds })
    }

    /// Looks until `over` is closed. Draws the job once more, since a source belongs to one thread.
    pub(crate) fn run(self, shared: &Weak<Shared>, over: &Receiver<()>, draw: &Draw) {
        // Most runs with an end have ended before the first look.
        if over.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let Ok(graph) = drawn(draw, &self.env) else { return };
        let (inputs, mut known) = (graph.inputs(), self.known);
        let growing = inputs.iter().filter_map(|drawn| {
            let known = known.remove(&drawn.uid)?;
            Some(Growing { drawn, known, gone: 0, locked: None, adds: self.adds })
        });
        let mut growing: Vec<_> = growing.collect();
        loop {
            for source in &mut growing {
                // Without holding the run: this may take long.
                let found = (source.drawn.connect)(&self.env, &From::Earliest);
                let Some(shared) = shared.upgrade() else { return };
                if let Err(fault) = source.compare(&shared, &self.env, found) {
                    shared.fail(fault);
                    return;
                }
            }
            if over.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

struct Growing<'a> {
    drawn: &'a DrawnSource,
    known: Known,
    /// How many looks in a row found no input.
    gone: usize,
    /// Since when it does not let us look.
    locked: Option<Instant>,
    adds: bool,
}

impl Growing<'_> {
    /// What a look comes to.
    fn compare(&mut self, shared: &Shared, env: &Env, found: Result<Vec<Partition>, Fault>) -> Result<(), Fault> {
        let uid = &self.drawn.uid;
        let asked = self.drawn.asked_of.is_some();
        let found = match found {
            Ok(found) => found,
            // Nobody has asked for anything yet.
            Err(fault) if asked && self.known.is_empty() && fault.is_missing() => return Ok(()),
            Err(fault) if fault.is_locked_out() => {
                if self.locked.get_or_insert_with(clock::instant).elapsed() >= LOCKED {
                    let what = format!("job {}: source {uid:?} has not let us in for {LOCKED:?}", env.identity());
                    return Err(Fault::new(fault.exit(), what).because(fault));
                }
                tracing::warn!(source = uid, %fault, "the source does not let us in; waiting");
                return Ok(());
            }
            // As one that gives no answer.
            Err(fault) if fault.is_mute() => {
                self.locked = None;
                tracing::warn!(source = uid, %fault, "the partitions could not be looked at");
                return Ok(());
            }
            // Once may be a broker that has just started and does not know its topics yet.
            Err(fault) if fault.exit() == Exit::Usage && self.gone > 0 => {
                let job = env.identity();
                return Err(if fault.is_missing() {
                    Fault::new(Exit::Restore, format!("job {job}: source {uid:?} is no longer there")).because(fault)
                } else {
                    Fault::new(fault.exit(), format!("job {job}: source {uid:?} can no longer be read")).because(fault)
                });
            }
            Err(fault) => {
                self.gone += usize::from(fault.exit() == Exit::Usage);
                self.locked = None;
                tracing::warn!(source = uid, %fault, "the partitions could not be looked at");
                return Ok(());
            }
        };
        (self.gone, self.locked) = (0, None);
        super::recover::same_input(
            env,
            self.drawn,
            self.known.iter().map(|(number, print)| (*number, print.as_str())),
            &found,
        )?;
        if !self.adds {
            return Ok(());
        }
        let mut added = false;
        for partition in found {
            let number = partition.partition;
            if self.known.contains_key(&number) {
                shared.lanes.know_end(uid, number, partition.end);
                continue;
            }
            tracing::info!(source = uid, partition = number, "there is more to read");
            let place = self.known.len();
            self.known.insert(number, partition.fingerprint.clone());
            // It holds nobody up before it is read.
            let (least, standing) = match asked {
                true => (Timestamp::MIN, Standing::Idle),
                false => (shared.lanes.followed().unwrap_or(Timestamp::MIN), Standing::AtEnd),
            };
            let lane = Lane::new(uid, number, least, partition.start, partition.end, standing);
            let lane = shared.lanes.add(lane);
            shared.growth.add(Added { source: uid.clone(), place, partition, lane });
            added = true;
        }
        if added {
            shared.wake();
        }
        Ok(())
    }
}
