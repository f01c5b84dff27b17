//! A source as the head of its chain: reads the partitions of this worker, keeps their watermarks, cuts epochs.
//!
//! In an activation, before each batch: the leader's cut first (it needs no credit), then credit, then alignment, then one batch of one
//! partition, driven through the whole chain under the operator's own capability, which then moves to what the partitions promise.

use std::rc::Rc;

use millpond_state::{Position, Timestamp};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::activate::Activator;

use super::asked::{Asked, Others, first_of};
use super::bad::{BadDesk, Found, Refusal};
use super::chain::{Chain, Drive, Emit};
use super::graph::{Ask, Lowering};
use super::slot::{Growing, OWN, Slot};
use super::taking::Taking;
use super::time::Time;
use crate::metrics::Counter;
use crate::redrive::requests_of;
use crate::run::growth;
use crate::run::lanes::Standing;
use crate::run::local::{Local, Part, entering};
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
        let mut slots = Slot::of(&self.uid, lowering, &local);
        let finite = lowering.resume.until_end || self.source.plan().bounded;
        let assigned: Vec<_> = slots.iter().map(Slot::assigned).collect();
        let originals = lowering.bad.wants_originals();
        let opened = self.source.open(&lowering.resume.env, &assigned, waker.clone());
        let mut readers = Vec::new();
        readers.extend(opened.map_err(|fault| local.fail(fault)));
        let asked = Asked { source: self.source, uid: self.uid.clone(), env: lowering.resume.env.clone(), waker };
        if let (Some(slot), false) = (Slot::requests(&self.uid, lowering, &local), readers.is_empty()) {
            readers.extend(asked.open(&slot).map_err(|fault| local.fail(fault)));
            slots.push(slot);
        }
        if originals {
            readers.iter_mut().for_each(Reader::keep_originals);
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
        let redriven = local.shared.metrics.counter(
            "millpond_redriven_records_total",
            "dead letters that were read again",
            &[("source", &self.uid)],
        );
        let mut reading = Reading::<S> {
            pace: asked.source.pace(),
            redriven,
            asked,
            firsts: Vec::new(),
            others: Others::new(&self.uid, lowering, &local),
            added: growth::counter(&local.shared.metrics, &self.uid),
            growing: Growing::new(&self.uid, lowering),
            woken,
            node: self.node,
            uid: self.uid,
            tracked: self.ask.get(),
            bad: Rc::clone(&lowering.bad),
            epoch: lowering.resume.open(),
            promised: Timestamp::MIN,
            batch: Batch::default(),
            turn: 0,
            local,
            slots,
            readers,
            finite,
            activator,
            records,
            guarded,
        };
        Box::new(move |own, _, emit| Some(reading.run(own, emit)))
    }
}

pub(super) struct Reading<S: Source> {
    pub(super) node: u32,
    pub(super) uid: String,
    pub(super) pace: Pace,
    pub(super) tracked: bool,
    pub(super) local: Rc<Local>,
    pub(super) bad: Rc<BadDesk>,
    /// Of its own partitions, and of what is asked for again. None when it could not be opened.
    pub(super) readers: Vec<S::Reader>,
    pub(super) asked: Asked<S>,
    /// Where records of the batch that are asked for again lay first, by their offsets among the requests.
    pub(super) firsts: Vec<(u64, (u32, u64))>,
    pub(super) others: Others,
    pub(super) slots: Vec<Slot>,
    pub(super) growing: Growing,
    pub(super) finite: bool,
    pub(super) epoch: u64,
    pub(super) promised: Timestamp,
    pub(super) batch: Batch<S::Item>,
    pub(super) turn: usize,
    pub(super) activator: Activator,
    pub(super) records: Counter,
    pub(super) guarded: Counter,
    pub(super) woken: Counter,
    pub(super) added: Counter,
    pub(super) redriven: Counter,
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
        let Some(own) = self.readers.get_mut(OWN) else { return Ok(()) };
        let (added, asked) = self.growing.news(&self.uid, &self.local);
        for added in added {
            let within = self.slots.iter().filter(|slot| !slot.again()).count();
            let slot = Slot::added(added, self.promised, within);
            own.add(&slot.assigned())?;
            self.slots.push(slot);
            self.added.add(1);
        }
        if let Some(slot) = asked.map(Slot::asked) {
            let mut reader = self.asked.open(&slot)?;
            reader.keep_originals();
            self.readers.push(reader);
            self.slots.push(slot);
        }
        Ok(())
    }

    /// Closes the epoch: positions and watermarks go to the ballot, the capability to the next epoch.
    fn cut(&mut self, own: &mut [Capability<Time>]) {
        let states = |again: bool| {
            let slots = self.slots.iter().filter(move |slot| slot.again() == again);
            slots.map(|slot| slot.saved.clone()).collect::<Vec<_>>()
        };
        let mut parts = vec![(self.uid.clone(), states(false))];
        let requests = states(true);
        if !requests.is_empty() {
            parts.push((requests_of(&self.uid), requests));
        }
        let letters = self.bad.sink().map(|sink| (sink, self.local.name(sink).to_owned(), self.promised));
        self.local.close(self.epoch, Part::Source(parts, letters));
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
        let slot = &mut self.slots[index];
        let (of, within) = slot.of;
        let Some(reader) = self.readers.get_mut(of) else { return Ok(false) };
        let left = slot.saved.end.map_or(u64::MAX, |end| end.saturating_sub(slot.saved.next));
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.local.shared.tuning.batch);
        self.batch.clear();
        // A step may have taken the memory along with the rows; grown record by record it would be copied ten times.
        self.batch.rows.reserve(most);
        let (before, watermark) = (slot.saved.next, slot.saved.watermark);
        self.firsts.clear();
        if slot.again() {
            // No record is newer than this, so none moves the watermark.
            slot.saved.newest = Timestamp::MAX;
        }
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
                again: None,
                firsts: &mut self.firsts,
                life: &self.others.life,
                others: &mut self.others.passed,
            };
            reader.read(within, most, &mut taking)?
        };
        self.others.told(&self.uid);
        let again = slot.again();
        if again {
            slot.saved.newest = Timestamp::MIN;
        }
        let count = self.batch.rows.len() + refused.len();
        // A watermark that moved alone is worth an epoch too.
        self.local.shared.count_input(count as u64, bytes.max(u64::from(slot.saved.watermark > watermark)));
        self.guarded.add(beyond);
        self.records.add(self.batch.rows.len() as u64);
        slot.at_end = read == Read::AtEnd || read == Read::Later && slot.at_end;
        if count > 0 {
            slot.at_end = false;
            slot.silent_since = None;
        }
        if count > 0 && again {
            self.redriven.add(count as u64);
        } else if count > 0 {
            // The others went on without it; what comes now may be late only because of that.
            self.woken.add(u64::from(slot.saved.idle));
            slot.saved.idle = false;
        }
        if read == Read::Finished || slot.saved.end.is_some_and(|end| slot.saved.next >= end) {
            slot.saved.finished = true;
        }
        for (arrival, reason) in refused {
            let (partition, offset) =
                first_of(&self.firsts, arrival.offset).unwrap_or((slot.saved.partition, arrival.offset));
            let position = Position { source: self.node, partition, offset, index: 0 };
            let refusal = Refusal { node: self.node, at: arrival.stamp, position, reason, value: None, whole: true };
            let found = reader.original(within, arrival.offset).map(|original| Found::of(original, again));
            self.bad.refuse(self.epoch, self.node, refusal, found);
        }
        if let Some(end) = reader.end(within) {
            let log_end = reader.log_end(within).unwrap_or(end);
            slot.lane.set_ends(slot.saved.end.unwrap_or(end), log_end);
        }
        if !self.batch.rows.is_empty() {
            self.batch.bytes = bytes;
            let last = slot.saved.next - 1;
            let partition = if again { Origin::AGAIN } else { slot.saved.partition };
            self.batch.origin = Origin { source: self.node, partition, first: before, last };
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

    /// Moves the capability to what the partitions promise.
    fn move_to(&mut self, own: &mut [Capability<Time>]) {
        let active = self.slots.iter().filter(|slot| !slot.saved.idle).map(|slot| slot.saved.watermark).min();
        let promise = match active {
            Some(least) => least,
            // All of this worker's partitions are idle: they follow the others.
            None if self.slots.iter().any(|slot| !slot.again()) => {
                self.local.shared.lanes.followed().unwrap_or(self.promised)
            }
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
        for slot in self.slots.iter_mut().filter(|slot| !slot.again()) {
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
