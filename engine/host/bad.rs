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
use crate::redrive::{Opened, Request};
use crate::run::local::{Local, entering};
use crate::sink::{Encode, Outgoing, Sink};
use crate::source::Original;
use crate::{Batch, Exit, Fault, Record};

/// A record that could not be used, with its original bytes and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Whether nothing of the record went on: then it may go through the job [again](crate::redrive) as it lay in the log. What a step
    /// refuses that comes after a fan-out, or after a step that makes several records of one, is a part.
    pub whole: bool,
    /// How often the record has been tried, from 1.
    pub attempt: u32,
    /// What was wrong when it was tried first, if that was another time.
    pub first_error: Option<String>,
    /// The letter that it was before, `partition:offset` in the dead-letter topic.
    pub letter: Option<String>,
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
    /// Whether nothing of the record can have gone on.
    pub(crate) whole: bool,
}

/// The bytes of a refused record, and the request that it came with.
#[derive(Debug)]
pub(crate) struct Found {
    original: Original,
    request: Option<Request>,
}

impl Found {
    /// What a reader keeps. `redriven` says that it reads requests.
    pub(crate) fn of(mut original: Original, redriven: bool) -> Found {
        let opened = if redriven { Opened::owned(std::mem::take(&mut original.headers)) } else { None };
        let Some(Opened { request, headers }) = opened else { return Found { original, request: None } };
        (original.headers, original.stamp) = (headers, Some(request.stamp));
        Found { original, request: Some(request) }
    }
}

/// Where a step that may fail puts what it refuses.
#[derive(Debug)]
pub struct Refusals<T> {
    node: u32,
    keep_values: bool,
    whole: bool,
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
        self.list.push(Refusal { node: self.node, at, position, reason, value: kept, whole: self.whole });
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
    again: Counter,
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
        let again = metrics.counter(
            "millpond_redriven_failed_total",
            "dead letters of records that were dead letters before and failed again",
            &[],
        );
        BadDesk { policy, encode: RefCell::new(encode), waiting: RefCell::default(), skipped, dead, again, local }
    }

    /// The node that dead letters go to.
    pub(crate) const fn sink(&self) -> Option<u32> {
        match &self.policy {
            OnBad::DeadLetter(node, _) => Some(*node),
            OnBad::Fail | OnBad::Skip => None,
        }
    }

    /// Whether somebody wants the bytes of refused records.
    pub(crate) fn wants_originals(&self) -> bool {
        matches!(self.policy, OnBad::DeadLetter(..))
    }

    /// Deals with everything steps refused of the batch that has just been driven. `find` finds a record's bytes.
    pub(crate) fn settle(&self, epoch: u64, source: u32, mut find: impl FnMut(Position) -> Option<Found>) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let refusals = std::mem::take(&mut *self.waiting.borrow_mut());
        for refusal in refusals {
            let found = find(refusal.position);
            self.refuse(epoch, source, refusal, found);
        }
    }

    /// Deals with one bad record.
    pub(crate) fn refuse(&self, epoch: u64, source: u32, refusal: Refusal, found: Option<Found>) {
        if self.local.muted.get() {
            return;
        }
        let Refusal { node, at, position, reason, value, whole } = refusal;
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
                let whole = whole && found.is_some();
                let found =
                    found.unwrap_or(Found { original: Original { value, ..Original::default() }, request: None });
                let Found { original, request } = found;
                self.again.add(u64::from(request.is_some()));
                let letter = DeadLetter {
                    key: original.key,
                    value: original.value,
                    headers: original.headers,
                    error: reason,
                    step: step.to_owned(),
                    source: source.to_owned(),
                    partition: position.partition,
                    offset: position.offset,
                    whole,
                    attempt: request.as_ref().map_or(1, |request| request.attempt.saturating_add(1)),
                    first_error: request.as_ref().map(|request| request.first_error.clone()),
                    letter: request.map(|request| request.letter),
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
    /// Whether each record that comes here is all that was made of one record of its source.
    pub(crate) whole: bool,
}

impl<'s, T: 'static, U: 'static> Chain<'s, U> for TryThen<'s, T, U> {
    fn open(self: Box<Self>, operator: &mut OperatorBuilder<'s, Time>, lowering: &Lowering<'s>) -> Drive<U> {
        let TryThen { node, before, mut step, whole } = *self;
        let mut before = before.open(operator, lowering);
        let mut done = Batch::default();
        let bad = Rc::clone(&lowering.bad);
        let keep_values = bad.wants_originals();
        let mut refusals = Refusals { node, keep_values, whole, list: Vec::new(), of: std::marker::PhantomData };
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
