//! Bad records: what does not decode, or what a user's function refuses. The job's policy decides: fail (default), skip and count, or
//! write them to a dead-letter place, committed in the same epoch as the rest. None is dropped without a count.

use std::cell::RefCell;
use std::rc::Rc;

use millpond_state::{Position, Timestamp};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::chain::{Chain, Drive};
use super::graph::Lowering;
use super::time::Time;
use crate::metrics::Counter;
use crate::run::local::{Local, entering};
use crate::sink::{Encode, Outgoing, Sink};
use crate::source::Original;
use crate::{Batch, Exit, Fault, Record};

/// A record that could not be used, with its original bytes and what was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its key as it lies in the log.
    pub key: Option<Vec<u8>>,
    /// Its value as it lies in the log; for a record made by an earlier step, that record as JSON.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What was wrong.
    pub error: String,
    /// The step that refused it.
    pub step: String,
    /// The source it came from.
    pub source: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// The policy of a job.
#[derive(Clone, Default)]
pub(crate) enum OnBad {
    #[default]
    Fail,
    Skip,
    DeadLetter(u32, Rc<dyn DeadSink>),
}

/// A sink of dead letters without its type.
pub(crate) trait DeadSink {
    fn open(&self, partitions: u32) -> Box<dyn Encode<DeadLetter>>;
}

impl<S: Sink<DeadLetter>> DeadSink for S {
    fn open(&self, partitions: u32) -> Box<dyn Encode<DeadLetter>> {
        self.encoder(partitions)
    }
}

/// One refused record.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) node: u32,
    pub(crate) at: Timestamp,
    pub(crate) position: Position,
    pub(crate) reason: String,
    pub(crate) value: Option<Vec<u8>>,
}

/// Where a step that may fail puts what it refuses.
#[derive(Debug)]
pub struct Refusals<T> {
    node: u32,
    keep_values: bool,
    list: Vec<Refusal>,
    of: std::marker::PhantomData<fn(&T)>,
}

impl<T: Serialize> Refusals<T> {
    /// The record as it would be needed for a dead letter; nothing when nobody asks. Called before the record is given away.
    pub fn keep(&self, value: &T) -> Option<Vec<u8>> {
        self.keep_values.then(|| serde_json::to_vec(value).unwrap_or_default())
    }

    /// Refuses a record.
    pub fn refuse(&mut self, at: Timestamp, position: Position, reason: String, kept: Option<Vec<u8>>) {
        self.list.push(Refusal { node: self.node, at, position, reason, value: kept });
    }
}

/// Applies the policy on one worker.
pub(crate) struct BadDesk {
    local: Rc<Local>,
    policy: OnBad,
    encode: RefCell<Option<Box<dyn Encode<DeadLetter>>>>,
    waiting: RefCell<Vec<Refusal>>,
    skipped: Counter,
    dead: Counter,
}

impl BadDesk {
    pub(crate) fn new(local: Rc<Local>, policy: OnBad, partitions: impl Fn(u32) -> u32) -> Self {
        let encode = match &policy {
            OnBad::DeadLetter(node, sink) => Some(sink.open(partitions(*node))),
            OnBad::Fail | OnBad::Skip => None,
        };
        let metrics = &local.shared.metrics;
        let skipped =
            metrics.counter("millpond_skipped_records_total", "records skipped because they could not be used", &[]);
        let dead = metrics.counter("millpond_dead_letters_total", "records written as dead letters", &[]);
        BadDesk { policy, encode: RefCell::new(encode), waiting: RefCell::default(), skipped, dead, local }
    }

    /// Whether somebody wants the bytes of refused records.
    pub(crate) fn wants_originals(&self) -> bool {
        matches!(self.policy, OnBad::DeadLetter(..))
    }

    /// Deals with everything steps refused of the batch that has just been driven. `original` finds a record's bytes.
    pub(crate) fn settle(&self, epoch: u64, source: u32, mut original: impl FnMut(u64) -> Option<Original>) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let refusals = std::mem::take(&mut *self.waiting.borrow_mut());
        for refusal in refusals {
            let bytes = original(refusal.position.offset);
            self.refuse(epoch, source, refusal, bytes);
        }
    }

    /// Deals with one bad record.
    pub(crate) fn refuse(&self, epoch: u64, source: u32, refusal: Refusal, original: Option<Original>) {
        if self.local.muted.get() {
            return;
        }
        let Refusal { node, at, position, reason, value } = refusal;
        let (step, source) = (self.local.name(node), self.local.name(source));
        match &self.policy {
            OnBad::Fail => {
                let job = &self.local.shared.job;
                let Position { partition, offset, .. } = position;
                self.local.fail(Fault::new(
                    Exit::FixJob,
                    format!(
                        "job {job}: step {step:?} cannot use the record on {source} partition {partition} offset {offset}: {reason}; \
                         mend the job, or let it skip bad records or keep them as dead letters"
                    ),
                ));
            }
            OnBad::Skip => self.skipped.add(1),
            OnBad::DeadLetter(sink, _) => {
                let original = original.unwrap_or(Original { value, ..Original::default() });
                let letter = DeadLetter {
                    key: original.key,
                    value: original.value,
                    headers: original.headers,
                    error: reason,
                    step: step.to_owned(),
                    source: source.to_owned(),
                    partition: position.partition,
                    offset: position.offset,
                };
                let at = original.stamp.unwrap_or(at);
                let mut batch = Batch { rows: vec![Record { at, seen: at, value: letter }], ..Batch::default() };
                let mut outgoing = Outgoing::new(*sink, epoch);
                let mut encode = self.encode.borrow_mut();
                let encode = encode.as_mut().expect("a dead-letter policy opened its encoder");
                match encode.encode(&mut batch, &mut outgoing) {
                    Ok(()) => {
                        self.dead.add(1);
                        self.local.send(outgoing);
                    }
                    Err(fault) => self.local.fail(fault),
                }
            }
        }
    }
}

type TryStep<T, U> = Box<dyn FnMut(&mut Batch<T>, &mut Batch<U>, &mut Refusals<T>)>;

/// One step that may refuse records, after a chain.
pub(crate) struct TryThen<'s, T, U> {
    pub(crate) node: u32,
    pub(crate) before: Box<dyn Chain<'s, T> + 's>,
    pub(crate) step: TryStep<T, U>,
}

impl<'s, T: 'static, U: 'static> Chain<'s, U> for TryThen<'s, T, U> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<U> {
        let TryThen { node, before, mut step } = *self;
        let mut before = before.open(operator, lowering);
        let mut done = Batch::default();
        let bad = Rc::clone(&lowering.bad);
        let keep_values = bad.wants_originals();
        let mut refusals = Refusals { node, keep_values, list: Vec::new(), of: std::marker::PhantomData };
        Box::new(move |own, frontiers, emit| {
            before(own, frontiers, &mut |held, batch| {
                entering(node);
                done.clear();
                done.follow(batch);
                step(batch, &mut done, &mut refusals);
                bad.waiting.borrow_mut().append(&mut refusals.list);
                if !done.rows.is_empty() {
                    emit(held, &mut done);
                }
            })
        })
    }
}
