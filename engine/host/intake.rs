//! A source as the head of its chain: reads the partitions of this worker, keeps their watermarks, cuts epochs.
//!
//! In an activation, before each batch: the leader's cut first (it needs no credit), then credit, then alignment, then one batch of one
//! partition, driven through the whole chain under the operator's own capability, which then moves to what the partitions promise.

use std::rc::Rc;

use millpond_state::{Position, Timestamp};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::activate::Activator;

use super::bad::{BadDesk, Refusal};
use super::chain::{Chain, Drive, Emit, Held};
use super::graph::{Ask, Lowering};
use super::slot::{Growing, Slot};
use super::taking::Taking;
use super::time::Time;
use crate::metrics::Counter;
use crate::run::growth;
use crate::run::lanes::Standing;
use crate::run::local::{Local, Part, entering, reading};
use crate::source::{Pace, Read, Reader, Source, Waker};
use crate::{Batch, Fault, Origin};

/// How many batches one activation reads before others get their turn.
const TURN: usize = 4;

/// A drawn source.
pub(crate) struct Intake<S> {
    pub(crate) node: u32,
    pub(crate) uid: String,
    pub(crate) source: Rc<S>,
    pub(crate) ask: Ask,
}

impl<'s, S: Source> Chain<'s, S::Item> for Intake<S> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<S::Item> {
        let local = Rc::clone(&lowering.local);
        local.join();
        let address = operator.operator_info().address;
        let worker = lowering.scope.worker();
        let activator = worker.activator_for(Rc::clone(&address));
        let sync = worker.sync_activator_for(address.to_vec());
        // A worker that has gone needs no waking.
        let waker = Waker::new(move || sync.activate().unwrap_or(()));
        local.shared.add_waker(waker.clone());
        let slots = Slot::of(&self.uid, lowering, &local);
        let finite = lowering.resume.until_end || self.source.plan().bounded;
        let assigned: Vec<_> = slots.iter().map(Slot::assigned).collect();
        let opened = self.source.open(&lowering.resume.env, &assigned, waker);
        let mut reader = opened.map_err(|fault| local.fail(fault)).ok();
        if let (Some(reader), true) = (&mut reader, lowering.bad.wants_originals()) {
            reader.keep_originals();
        }
        let records =
            local.shared.metrics.counter("millpond_records_read_total", "records read", &[("source", &self.uid)]);
        let guarded = local.shared.metrics.counter(
            "millpond_future_records_total",
            "records too far beyond their log's own time to move the watermark",
            &[("source", &self.uid)],
        );
        let woken = local.shared.metrics.counter(
            "millpond_idle_partitions_woken_total",
            "partitions that were left behind as idle and then had records again",
            &[("source", &self.uid)],
        );
        let mut reading = Reading::<S> {
            added: growth::counter(&local.shared.metrics, &self.uid),
            growing: Growing::new(&self.uid, lowering),
            woken,
            node: self.node,
            uid: self.uid,
            pace: self.source.pace(),
            tracked: self.ask.get(),
            bad: Rc::clone(&lowering.bad),
            epoch: lowering.resume.open(),
            promised: Timestamp::MIN,
            batch: Batch::default(),
            turn: 0,
            local,
            slots,
            reader,
            finite,
            activator,
            records,
            guarded,
        };
        Box::new(move |own, _, emit| Some(reading.run(own, emit)))
    }
}

struct Reading<S: Source> {
    node: u32,
    uid: String,
    pace: Pace,
    tracked: bool,
    local: Rc<Local>,
    bad: Rc<BadDesk>,
    reader: Option<S::Reader>,
    slots: Vec<Slot>,
    growing: Growing,
    finite: bool,
    epoch: u64,
    promised: Timestamp,
    batch: Batch<S::Item>,
    turn: usize,
    activator: Activator,
    records: Counter,
    guarded: Counter,
    woken: Counter,
    added: Counter,
}

impl<S: Source> Reading<S> {
    fn run(&mut self, own: &mut [Capability<Time>], emit: Emit<'_, S::Item>) -> Time {
        if self.promised == Timestamp::MIN {
            // The first activation: capabilities begin at epoch 0, which was decided before this run.
            self.move_to(own);
        }
        if let Err(fault) = self.grow() {
            self.local.fail(fault);
        }
        let (mut batches, mut empty) = (0, 0);
        // Until its turn is over, or every partition has been looked at in vain: then a waker calls.
        let again = loop {
            if self.epoch <= self.local.shared.cut() {
                self.cut(own);
            }
            if self.local.shared.stopping() || !self.local.running() || empty >= self.slots.len() {
                break false;
            }
            if batches == TURN {
                break true;
            }
            let Some(slot) = self.choose() else { break false };
            match self.read(slot, own, emit) {
                Ok(false) => empty += 1,
                Ok(true) => (batches, empty) = (batches + 1, 0),
                Err(fault) => {
                    self.local.fail(fault);
                    break false;
                }
            }
        };
        self.idle(own);
        if again {
            self.activator.activate();
        }
        Time { epoch: self.epoch, watermark: self.promised }
    }

    /// Takes over partitions that were added, where this worker is to own them.
    fn grow(&mut self) -> Result<(), Fault> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        for added in self.growing.news(&self.uid, &self.local) {
            let slot = Slot::added(added, self.promised);
            reader.add(&slot.assigned())?;
            self.slots.push(slot);
            self.added.add(1);
        }
        Ok(())
    }

    /// Closes the epoch: positions and watermarks go to the ballot, the capability to the next epoch.
    fn cut(&mut self, own: &mut [Capability<Time>]) {
        let states = self.slots.iter().map(|slot| slot.saved.clone()).collect();
        self.local.close(self.epoch, Part::Source(self.uid.clone(), states));
        self.epoch += 1;
        self.move_to(own);
    }

    /// The next partition that may be read, in turn: credit first, then alignment.
    fn choose(&mut self) -> Option<usize> {
        let count = self.slots.len();
        let (mut room, mut looked) = (None, false);
        for step in 0..count {
            let index = (self.turn + step) % count;
            let slot = &self.slots[index];
            if slot.saved.finished {
                continue;
            }
            if !*room.get_or_insert_with(|| self.local.shared.may_read()) {
                return None;
            }
            if slot.at_end || self.local.shared.lanes.may_read(&slot.lane, &mut looked) {
                self.turn = index + 1;
                return Some(index);
            }
        }
        None
    }

    /// Reads one batch of a partition and drives it; answers whether that got on.
    fn read(&mut self, index: usize, own: &mut [Capability<Time>], emit: Emit<'_, S::Item>) -> Result<bool, Fault> {
        let Some(reader) = self.reader.as_mut() else { return Ok(false) };
        let slot = &mut self.slots[index];
        let left = slot.saved.end.map_or(u64::MAX, |end| end.saturating_sub(slot.saved.next));
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.local.shared.tuning.batch);
        self.batch.clear();
        // A step may have taken the memory along with the rows; grown record by record it would be copied ten times.
        self.batch.rows.reserve(most);
        let (before, watermark) = (slot.saved.next, slot.saved.watermark);
        let mut refused = Vec::new();
        let mut bytes = 0;
        let mut beyond = 0;
        let read = if most == 0 {
            Read::Finished
        } else {
            let source = self.node;
            let mut taking = Taking {
                saved: &mut slot.saved,
                pace: self.pace,
                batch: &mut self.batch,
                tracked: self.tracked,
                source,
                refused: &mut refused,
                bytes: &mut bytes,
                beyond: &mut beyond,
            };
            reader.read(index, most, &mut taking)?
        };
        let count = self.batch.rows.len() + refused.len();
        // A watermark that moved alone is worth an epoch too.
        self.local.shared.count_input(count as u64, bytes.max(u64::from(slot.saved.watermark > watermark)));
        self.guarded.add(beyond);
        self.records.add(self.batch.rows.len() as u64);
        slot.at_end = read == Read::AtEnd || read == Read::Later && slot.at_end;
        if count > 0 {
            slot.at_end = false;
            slot.silent_since = None;
            // The others went on without it; what comes now may be late only because of that.
            self.woken.add(u64::from(slot.saved.idle));
            slot.saved.idle = false;
        }
        if read == Read::Finished || slot.saved.end.is_some_and(|end| slot.saved.next >= end) {
            slot.saved.finished = true;
        }
        for (arrival, reason) in refused {
            let position =
                Position { source: self.node, partition: slot.saved.partition, offset: arrival.offset, index: 0 };
            let refusal = Refusal { node: self.node, at: arrival.stamp, position, reason, value: None };
            let original = reader.original(index, arrival.offset);
            self.bad.refuse(self.epoch, self.node, refusal, original);
        }
        if let Some(end) = reader.end(index) {
            let log_end = reader.log_end(index).unwrap_or(end);
            slot.lane.set_ends(slot.saved.end.unwrap_or(end), log_end);
        }
        if !self.batch.rows.is_empty() {
            self.batch.bytes = bytes;
            let last = slot.saved.next - 1;
            self.batch.origin = Origin { source: self.node, partition: slot.saved.partition, first: before, last };
            self.drive(index, own, emit);
        }
        let slot = &mut self.slots[index];
        if slot.saved.finished {
            slot.saved.watermark = Timestamp::MAX;
        }
        let moved = slot.saved.watermark > watermark;
        if self.local.shared.lanes.publish(&slot.lane, slot.saved.watermark, slot.saved.next, slot.standing()) {
            self.local.shared.wake();
        }
        if moved || count > 0 {
            self.move_to(own);
        }
        Ok(count > 0 || read == Read::More)
    }

    /// One batch through the whole chain. When a user's function panics in it, the batch is gone over again record by record, with
    /// nothing leaving, so that the fault can name the record.
    fn drive(&mut self, index: usize, own: &[Capability<Time>], emit: Emit<'_, S::Item>) {
        let origin = self.batch.origin;
        reading(Some(origin));
        let batch = &mut self.batch;
        if let Err(text) = self.local.caught(|| emit(Held::Own(own), batch)) {
            let offset = self.search(index, origin, own, emit);
            self.local.fail(self.local.panicked(&text, offset));
            return;
        }
        let Some(reader) = self.reader.as_mut() else { return };
        self.bad.settle(self.epoch, self.node, |offset| reader.original(index, offset));
    }

    fn search(
        &mut self,
        index: usize,
        origin: Origin,
        own: &[Capability<Time>],
        emit: Emit<'_, S::Item>,
    ) -> Option<u64> {
        let reader = self.reader.as_mut()?;
        reader.seek(index, origin.first).ok()?;
        self.local.muted.set(true);
        let mut saved = self.slots[index].saved.clone();
        saved.next = origin.first;
        let mut patience = 1_000_000u32;
        while saved.next <= origin.last {
            let offset = saved.next;
            self.batch.clear();
            let mut taking = Taking {
                saved: &mut saved,
                pace: self.pace,
                batch: &mut self.batch,
                tracked: self.tracked,
                source: self.node,
                refused: &mut Vec::new(),
                bytes: &mut 0,
                beyond: &mut 0,
            };
            // A reader that has to fetch again answers `Later`; when that takes too long the range has to do.
            let read = reader.read(index, 1, &mut taking).ok()?;
            if saved.next == offset {
                patience = patience.checked_sub(1)?;
                if read != Read::Later {
                    return None;
                }
                std::thread::yield_now();
                continue;
            }
            self.batch.origin = Origin { first: saved.next - 1, last: saved.next - 1, ..origin };
            reading(Some(self.batch.origin));
            let batch = &mut self.batch;
            if self.local.caught(|| emit(Held::Own(own), batch)).is_err() {
                return Some(saved.next - 1);
            }
        }
        None
    }

    /// Moves the capability to what the partitions promise.
    fn move_to(&mut self, own: &mut [Capability<Time>]) {
        let active = self.slots.iter().filter(|slot| !slot.saved.idle).map(|slot| slot.saved.watermark).min();
        let promise = match active {
            Some(least) => least,
            // All of this worker's partitions are idle: they follow the others.
            None if !self.slots.is_empty() => self.local.shared.lanes.followed().unwrap_or(self.promised),
            None if self.finite => Timestamp::MAX,
            None => Timestamp::LAST,
        };
        self.promised = self.promised.max(promise);
        for capability in own {
            capability.downgrade(&Time { epoch: self.epoch, watermark: self.promised });
        }
    }

    /// Partitions that have been at their end for long enough stop holding the watermark.
    fn idle(&mut self, own: &mut [Capability<Time>]) {
        let Some(after) = self.pace.idle_after else { return };
        let mut changed = false;
        let mut next_look = None;
        for slot in &mut self.slots {
            if !slot.at_end || slot.saved.finished || slot.saved.idle {
                changed |= slot.saved.idle;
                continue;
            }
            let now = crate::clock::instant();
            let since = *slot.silent_since.get_or_insert(now);
            let silent = now.duration_since(since);
            if silent >= after {
                slot.saved.idle = true;
                changed = true;
                self.local.shared.lanes.publish(&slot.lane, slot.saved.watermark, slot.saved.next, Standing::Idle);
                // Those that fell silent before may follow further now.
                self.local.shared.wake();
            } else {
                let rest = after - silent;
                next_look = Some(next_look.map_or(rest, |least: std::time::Duration| least.min(rest)));
            }
        }
        if let Some(rest) = next_look {
            self.activator.activate_after(rest);
        }
        if changed {
            entering(self.node);
            self.move_to(own);
        }
    }
}
