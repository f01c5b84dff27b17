//! The operator kit: every operator passes it.
//!
//! [`passes`] makes a log for each of 20 seeds: several partitions, records out of order and some far back, each stamped with its own
//! partition's watermark. It then runs the operator over it in every [`Manner`]: partitions interleaved at random, in batches of any
//! size, on one to three workers, each at a watermark of its own that keeps what sources promise, with budgets that run out, with a snapshot
//! after every record and all state thrown away and restored, on another number of workers. Whatever happened, results and
//! late records must be those of a model: a plain function of the log, that knows no watermark but `seen`.
//!
//! On the way it checks what the engine relies on: nothing is emitted on a budget of nothing, nothing below what was promised
//! downstream (not even after a restore), windows leave in the order of their ends.

mod host;
mod log;
mod plan;

use std::fmt::Debug;

use millpond_engine::{Operator, Record};

pub(crate) use log::{Log, Read};
pub(crate) use plan::{Drawn, planned};

use crate::aggregate::trial::Dice;

/// How an operator is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Records in a batch, at most.
    pub(crate) batch: u64,
    /// Of so many steps one closes the epoch.
    pub(crate) close: u64,
    /// Of so many epochs one ends in a restore; 0 for never.
    pub(crate) restore: u64,
    /// Workers, at most.
    pub(crate) workers: u64,
    /// Records an `advance` may emit, at most.
    pub(crate) budget: u64,
}

const MANNERS: [Manner; 5] = [
    Manner { batch: 1, close: 1_000_000, restore: 0, workers: 1, budget: 1_000 },
    Manner { batch: 1, close: 1, restore: 1, workers: 1, budget: 3 },
    Manner { batch: 1, close: 1, restore: 1, workers: 3, budget: 2 },
    Manner { batch: 40, close: 5, restore: 3, workers: 3, budget: 8 },
    Manner { batch: 500, close: 9, restore: 2, workers: 2, budget: 1 },
];

const SEEDS: u64 = 20;

/// What a model expects of a whole log, or an operator did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told<O, S> {
    /// Results, in any order.
    pub(crate) out: Vec<Record<O>>,
    /// Late records, in any order.
    pub(crate) late: Vec<Record<S>>,
    /// How many were late.
    pub(crate) late_count: u64,
    /// How many belonged to no window.
    pub(crate) unassigned: u64,
}

impl<O, S> Default for Told<O, S> {
    fn default() -> Self {
        Told { out: Vec::new(), late: Vec::new(), late_count: 0, unassigned: 0 }
    }
}

impl<O: Debug, S: Debug> Told<O, S> {
    /// As lines that compare whatever the order was.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.out.iter().map(|record| format!("{} {:?}", record.at, record.value)).collect();
        lines.extend(self.late.iter().map(|record| format!("late {} {} {:?}", record.at, record.seen, record.value)));
        lines.sort();
        lines.push(format!("{} late, {} unassigned", self.late_count, self.unassigned));
        lines
    }
}

/// What the kit takes for granted of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Panes: in order of time, and never below the promise.
    Panes,
    /// Never below the promise, in no order.
    Promised,
    /// Records with no time that means anything downstream.
    Untimed,
}

/// Runs what `make` makes in every manner over a log for each seed, and compares with `model`. See the module.
pub(crate) fn passes<O>(
    output: Output,
    make: impl Fn() -> O,
    log: impl Fn(&mut Dice) -> Log<O::Key, O::In>,
    model: impl Fn(&Log<O::Key, O::In>) -> Told<O::Out, O::Side>,
) where
    O: Operator<Key: Debug, In: Debug, Out: Debug, Side: Debug>,
{
    for seed in 0..SEEDS {
        let log = log(&mut Dice::new(seed));
        let expected = model(&log).lines();
        for (number, manner) in (0..).zip(MANNERS) {
            let told = run(output, &make, &log, manner, seed * 100 + number);
            let lines = told.lines();
            if lines != expected {
                let missing: Vec<_> = expected.iter().filter(|line| !lines.contains(line)).take(10).collect();
                let extra: Vec<_> = lines.iter().filter(|line| !expected.contains(line)).take(10).collect();
                panic!("seed {seed}, {manner:?}:\nmissing {missing:#?}\nnot expected {extra:#?}");
            }
        }
    }
}

/// One run over a log, in one manner.
pub(crate) fn run<O: Operator>(
    output: Output,
    make: impl Fn() -> O,
    log: &Log<O::Key, O::In>,
    manner: Manner,
    seed: u64,
) -> Told<O::Out, O::Side> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut host = host::Host::new(output, make, log, manner.workers, &mut dice);
    let mut epochs = 0;
    while !host.ended() {
        if host.step(manner, &mut dice) && dice.below(manner.close) == 0 {
            host.close();
            epochs += 1;
            if manner.restore > 0 && epochs % manner.restore == 0 {
                host.restore(manner.workers, &mut dice);
            }
        }
    }
    host.close();
    host.told
}
