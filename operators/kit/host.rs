//! The kit's host: some workers, what is on the way to them, and a checkpoint.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Origin, Row, Shipment};
use millpond_state::{Entry, KeyGroup, Section, Timestamp, stable_hash};

use super::{Log, Manner, Output, Told};
use crate::aggregate::trial::Dice;

/// Rows on the way, and the merged watermark when they left.
type Sent<O> = (Timestamp, Shipment<<O as Operator>::Key, <O as Operator>::In>);

/// Changes an operator may emit at a time when an epoch closes, and entries that it may write.
const CLOSED: usize = 3;

struct Worker<O: Operator> {
    operator: O,
    groups: Range<u16>,
    sent: VecDeque<Sent<O>>,
    /// The watermark it was told.
    watermark: Timestamp,
    /// What it promised downstream.
    promised: Timestamp,
    /// The time of what it emitted last.
    newest: Timestamp,
    /// Whether everything due has left.
    done: bool,
}

pub(super) struct Host<'a, O: Operator, F> {
    output: Output,
    make: F,
    log: &'a Log<O::Key, O::In>,
    /// The next record of each partition, and what the partition promises.
    next: Vec<(usize, Timestamp)>,
    workers: Vec<Worker<O>>,
    stored: BTreeMap<(KeyGroup, Vec<u8>), Vec<u8>>,
    fires: Fires,
    pub(super) told: Told<O::Out, O::Side>,
}

/// The groups whose `group * workers / COUNT` is this worker.
fn groups(worker: usize, workers: usize) -> Range<u16> {
    let first = |worker: usize| (worker * KeyGroup::COUNT).div_ceil(workers) as u16;
    first(worker)..first(worker + 1)
}

impl<'a, O: Operator, F: Fn() -> O> Host<'a, O, F> {
    pub(super) fn new(output: Output, make: F, log: &'a Log<O::Key, O::In>, workers: u64, dice: &mut Dice) -> Self {
        let next = log.0.iter().map(|_| (0, Timestamp::MIN)).collect();
        let (stored, fires, told) = (BTreeMap::new(), Fires::new(), Told::default());
        let mut host = Host { output, make, log, next, workers: Vec::new(), stored, fires, told };
        host.start(1 + dice.below(workers) as usize, Timestamp::MIN);
        host
    }

    fn start(&mut self, workers: usize, promised: Timestamp) {
        self.workers = (0..workers)
            .map(|worker| Worker {
                operator: (self.make)(),
                groups: groups(worker, workers),
                sent: VecDeque::new(),
                watermark: Timestamp::MIN,
                promised,
                newest: Timestamp::MIN,
                done: true,
            })
            .collect();
    }

    /// What all partitions promise.
    fn merged(&self) -> Timestamp {
        self.next.iter().map(|(_, promised)| *promised).min().unwrap_or(Timestamp::MAX)
    }

    /// Whether the log is at its end and everything has left.
    pub(super) fn ended(&self) -> bool {
        let ended = |worker: &Worker<O>| worker.sent.is_empty() && worker.watermark == Timestamp::MAX && worker.done;
        self.workers.iter().all(ended)
    }

    /// One thing happens, if it can. Whether records were read, arrived or left.
    pub(super) fn step(&mut self, manner: Manner, dice: &mut Dice) -> bool {
        let worker = dice.below(self.workers.len() as u64) as usize;
        match dice.below(4) {
            0 | 1 => self.read(manner, dice),
            2 => self.deliver(worker),
            _ => self.advance(worker, dice.below(manner.budget + 1) as usize, dice),
        }
    }

    /// Reads a batch of one partition and sends it on its way.
    fn read(&mut self, manner: Manner, dice: &mut Dice) -> bool {
        let (merged, workers) = (self.merged(), self.workers.len());
        let partition = dice.below(self.next.len() as u64) as usize;
        let (next, promised) = &mut self.next[partition];
        if *promised == Timestamp::MAX {
            return false;
        }
        let records = &self.log.0[partition];
        let batch = &records[*next..records.len().min(*next + 1 + dice.below(manner.batch) as usize)];
        *next += batch.len();
        *promised = batch.last().map_or(*promised, |read| read.seen);
        if *next == records.len() {
            *promised = Timestamp::MAX;
        }
        for worker in 0..workers {
            let mut shipment = Shipment { origin: Origin::default(), worker: worker as u32, ..Shipment::default() };
            for read in batch {
                let hash = stable_hash(&read.key);
                if KeyGroup::of(hash).worker(workers) == worker {
                    let (key, value) = (read.key.clone(), read.value.clone());
                    shipment.rows.push(Row { hash, at: read.at, seen: read.seen, key, value });
                    shipment.positions.push(read.position);
                }
            }
            if !shipment.rows.is_empty() {
                self.workers[worker].sent.push_back((merged, shipment));
            }
        }
        true
    }

    /// A worker gets the next of its rows.
    fn deliver(&mut self, worker: usize) -> bool {
        let Some((_, mut shipment)) = self.workers[worker].sent.pop_front() else { return false };
        let mut cx = Context::new(false);
        self.workers[worker].operator.apply(&mut shipment, &mut cx);
        self.take(worker, cx);
        true
    }

    /// A worker learns of a watermark that nothing on its way is below.
    fn advance(&mut self, worker: usize, budget: usize, dice: &mut Dice) -> bool {
        let most = self.workers[worker].sent.iter().map(|(watermark, _)| *watermark).min().unwrap_or(Timestamp::MAX);
        let most = most.min(self.merged());
        let hosted = &mut self.workers[worker];
        if hosted.done && hosted.watermark == most {
            return false;
        }
        let since = hosted.watermark.max(most.plus_micros(-100));
        // Until it has caught up with the source it may stand anywhere below.
        if most > hosted.watermark && (hosted.done || dice.below(3) == 0) {
            let between = Timestamp::from_micros(dice.between(since.micros(), most.micros()));
            hosted.watermark = if dice.below(2) == 0 { most } else { between };
        }
        let mut cx = Context::new(false);
        let firing = hosted.operator.advance(hosted.watermark, budget, &mut cx);
        assert!(budget > 0 || cx.emitted() == 0, "emitted without a budget");
        assert!(cx.emitted() <= budget + 8, "emitted {} on a budget of {budget}", cx.emitted());
        let happened = cx.emitted() > 0;
        self.take(worker, cx);
        let hosted = &mut self.workers[worker];
        hosted.done = firing == Firing::Done;
        if hosted.done {
            let promise = hosted.operator.output_watermark(hosted.watermark);
            hosted.promised = hosted.promised.max(promise);
        }
        happened
    }

    fn take(&mut self, worker: usize, mut cx: Context<O::Out, O::Side>) {
        let counted = cx.counted();
        let (out, late) = cx.take();
        let hosted = &mut self.workers[worker];
        for at in out.iter().map(|record| record.at) {
            assert!(
                self.output == Output::Untimed || at >= hosted.promised,
                "{at} is below the promise {}",
                hosted.promised
            );
            assert!(self.output != Output::Panes || at >= hosted.newest, "{at} comes after {}", hosted.newest);
            hosted.newest = at;
        }
        self.told.out.extend(out);
        self.told.late.extend(late);
        self.told.late_count += counted.0;
        self.told.unassigned += counted.1;
    }

    /// The epoch closes on all workers: everything on the way arrives, then come the snapshots.
    pub(super) fn close(&mut self) {
        let mut fires = Fires::new();
        for worker in 0..self.workers.len() {
            while !self.workers[worker].sent.is_empty() {
                self.deliver(worker);
            }
            loop {
                let mut cx = Context::new(false);
                let firing = self.workers[worker].operator.close(CLOSED, &mut cx);
                assert!(cx.emitted() <= CLOSED, "emitted {} on a budget of {CLOSED}", cx.emitted());
                self.take(worker, cx);
                if firing == Firing::Done {
                    break;
                }
            }
            let Worker { operator, groups, .. } = &mut self.workers[worker];
            let mut section = Section::new("kit");
            while !operator.snapshot(&mut { CLOSED }, &mut section).expect("state of the kit has an encoding") {}
            for prefix in section.dropped() {
                let owned = |group: KeyGroup| groups.contains(&(group.index() as u16));
                self.stored.retain(|(group, key), _| !owned(*group) || !key.starts_with(prefix));
            }
            for Entry { group, key, value } in section.entries() {
                match value {
                    Some(value) => self.stored.insert((group, key.to_owned()), value.to_owned()),
                    None => self.stored.remove(&(group, key.to_owned())),
                };
            }
            fires.extend(operator.fired(groups.clone()));
        }
        self.fires = fires;
    }

    /// All workers are gone; others start from the checkpoint.
    pub(super) fn restore(&mut self, workers: u64, dice: &mut Dice) {
        // Downstream has its own checkpoint of the same epoch, and in it what all workers had promised.
        let promised = self.workers.iter().map(|worker| worker.promised).min().unwrap_or(Timestamp::MIN);
        self.start(1 + dice.below(workers) as usize, promised);
        for Worker { operator, groups, .. } in &mut self.workers {
            operator.restore_fired(groups.clone(), &self.fires);
            for ((group, key), value) in &self.stored {
                if groups.contains(&(group.index() as u16)) {
                    let entry = Entry { group: *group, key, value: Some(value) };
                    operator.restore(entry).expect("what was written is read back");
                }
            }
        }
    }
}
