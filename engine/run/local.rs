//! What the operators of one worker share: the way out for output, the ballot that closes an epoch, and where a panic happened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millpond_state::store::PartitionState;
use millpond_state::{Delta, Section, Timestamp};

use super::shared::{Closed, Event, Shared};
use crate::sink::Outgoing;
use crate::{Exit, Fault, Fires, Origin};

/// What a participant adds to an epoch.
pub(crate) enum Part {
    /// A sink: its node and name, and the event time below which nothing more comes to it.
    Sink(u32, String, Timestamp),
    /// A source's positions, and those of what it is asked for again; and of the sink of dead letters, which is no operator, what one of those says:
    /// nothing that is read later lies below the source's watermark.
    Source(Vec<(String, Vec<PartitionState>)>, Option<(u32, String, Timestamp)>),
    /// An operator's state.
    State(Section, Fires),
}

/// Shared by the operators of one worker, never across threads.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: usize,
    participants: Cell<usize>,
    sinks_running: Cell<usize>,
    sent: RefCell<BTreeMap<u64, u64>>,
    ballots: RefCell<BTreeMap<u64, (usize, Closed)>>,
    /// Set while a failed batch is gone over again to find the record: nothing leaves then.
    pub(crate) muted: Cell<bool>,
    failed: Cell<bool>,
    /// Names of the sources, by index, and of the nodes.
    names: Vec<String>,
}

thread_local! {
    /// The node whose user function runs, and the batch it runs on.
    static WHERE: Cell<(u32, Option<Origin>)> = const { Cell::new((u32::MAX, None)) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A step begins: a panic from here on is its own.
#[inline]
pub(crate) fn entering(node: u32) {
    WHERE.with(|at| at.set((node, at.get().1)));
}

/// A batch begins.
#[inline]
pub(crate) fn reading(origin: Option<Origin>) {
    WHERE.with(|at| at.set((at.get().0, origin)));
}

/// Runs a user's function; a panic becomes its text.
pub(crate) fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let before = QUIET.with(|quiet| quiet.replace(true));
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.with(|quiet| quiet.set(before));
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned())
    })
}

/// Whether the panic hook should keep still: the fault is reported with its place instead.
pub(crate) fn quiet() -> bool {
    QUIET.with(Cell::get)
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize, names: Vec<String>) -> Self {
        Local {
            shared,
            worker,
            participants: Cell::new(0),
            sinks_running: Cell::new(0),
            sent: RefCell::default(),
            ballots: RefCell::default(),
            muted: Cell::new(false),
            failed: Cell::new(false),
            names,
        }
    }

    /// The key groups of this worker.
    pub(crate) fn groups(&self) -> (u16, u16) {
        let count = millpond_state::KeyGroup::COUNT;
        // The inverse of `KeyGroup::worker`: the first group whose worker is `w` or greater.
        let first = |worker: usize| (worker * count).div_ceil(self.shared.workers).min(count) as u16;
        (first(self.worker), first(self.worker + 1))
    }

    pub(crate) fn join(&self) {
        self.participants.set(self.participants.get() + 1);
    }
    pub(crate) fn join_sink(&self) {
        self.join();
        self.sinks_running.set(self.sinks_running.get() + 1);
    }
    /// A sink has seen the final watermark; the last one tells the coordinator.
    pub(crate) fn sink_ended(&self) {
        self.sinks_running.set(self.sinks_running.get() - 1);
        if self.sinks_running.get() == 0 {
            self.shared.tell(Event::End);
        }
    }

    /// Whether operators may go on.
    pub(crate) fn running(&self) -> bool {
        !self.failed.get() && !self.shared.aborted()
    }

    /// Sends encoded output on its way.
    pub(crate) fn send(&self, outgoing: Outgoing) {
        if outgoing.is_empty() || self.muted.get() {
            return;
        }
        *self.sent.borrow_mut().entry(outgoing.epoch).or_default() += outgoing.len() as u64;
        self.shared.credits.take(outgoing.weight());
        self.shared.tell(Event::Output(outgoing));
    }

    /// A participant has closed an epoch. With the last one, the worker's part goes to be written.
    pub(crate) fn close(&self, epoch: u64, part: Part) {
        let mut ballots = self.ballots.borrow_mut();
        let (closed_by, closed) = ballots.entry(epoch).or_insert_with(|| {
            let (worker, groups) = (self.worker, self.groups());
            let (sources, sinks, fired) = (Vec::new(), Vec::new(), Vec::new());
            (0, Closed { epoch, worker, delta: Delta::default(), groups, sources, sinks, fired, sent: 0 })
        });
        match part {
            Part::Source(positions, letters) => {
                closed.sources.extend(positions);
                closed.sinks.extend(letters);
            }
            Part::Sink(node, uid, complete) => closed.sinks.push((node, uid, complete)),
            Part::State(section, fires) => {
                closed.fired.push((section.uid().to_owned(), fires));
                if !section.is_empty() {
                    closed.delta.sections.push(section);
                }
            }
        }
        *closed_by += 1;
        if *closed_by == self.participants.get() {
            let (_, mut closed) = ballots.remove(&epoch).expect("it was just there");
            closed.sent = self.sent.borrow_mut().remove(&epoch).unwrap_or(0);
            // The writer leaves only after the workers.
            let _ = self.shared.closed.send(closed);
        }
    }

    /// The job cannot go on: this worker stops touching anything.
    pub(crate) fn fail(&self, fault: Fault) {
        if !self.failed.replace(true) {
            self.shared.fail(fault);
        }
    }

    /// Runs `work`; `Err` holds the text of a panic in it.
    pub(crate) fn caught<R>(&self, work: impl FnOnce() -> R) -> Result<R, String> {
        caught(work)
    }

    /// Runs one activation of an operator unless the job has failed; a panic becomes a fault that names the place.
    pub(crate) fn guard(&self, work: impl FnOnce()) {
        if !self.running() {
            return;
        }
        if let Err(text) = self.caught(work) {
            self.fail(self.panicked(&text, None));
        }
    }

    /// The fault for a panic at the place that was entered last. `offset` when the record is known exactly.
    pub(crate) fn panicked(&self, text: &str, offset: Option<u64>) -> Fault {
        let (node, origin) = WHERE.with(Cell::get);
        let step = self.names.get(node as usize).map_or("a step", String::as_str);
        let partition = |origin: Origin| match origin.partition {
            Origin::AGAIN => crate::redrive::requests_of(self.source(origin)),
            partition => format!("{} partition {partition}", self.source(origin)),
        };
        let place = match (origin, offset) {
            (Some(origin), Some(offset)) => format!(", on {} offset {offset}", partition(origin)),
            (Some(origin), None) if origin.first == origin.last => {
                format!(", on {} offset {}", partition(origin), origin.first)
            }
            (Some(origin), None) => {
                format!(", on {} between offsets {} and {}", partition(origin), origin.first, origin.last)
            }
            (None, _) => String::new(),
        };
        Fault::new(Exit::FixJob, format!("job {}: step {step:?} panicked{place}: {text}", self.shared.job))
    }

    fn source(&self, origin: Origin) -> &str {
        self.names.get(origin.source as usize).map_or("a source", String::as_str)
    }

    pub(crate) fn name(&self, node: u32) -> &str {
        self.names.get(node as usize).map_or("", String::as_str)
    }
}
