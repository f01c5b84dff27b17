//! Event time for sources: `.event_time(|record| ..)` and what follows it.

use std::marker::PhantomData;
use std::time::Duration;

use millpond_state::{Data, Timestamp, span_micros};

use crate::redrive::Request;
use crate::source::{
    Arrival, Assigned, Collect, Env, From, Original, Pace, Partition, Read, Reader, Source, SourcePlan, Waker,
};
use crate::{Exit, Fault};

/// A source before it has said when its records happened. Connectors implement this; users call [`Untimed::event_time`] on it.
pub trait Untimed: Sized + 'static {
    /// What it reads.
    type Item: Data;
    /// What reads it on a worker.
    type Reader: Reader<Self::Item>;

    /// See [`Source::plan`].
    fn plan(&self) -> SourcePlan;
    /// See [`Source::system`].
    fn system(&self) -> Option<String> {
        None
    }
    /// See [`Source::redriven`].
    fn redriven(&self, name: &str, topic: &str) -> Option<Self> {
        let _ = (name, topic);
        None
    }
    /// See [`Source::grows`].
    fn grows(&self) -> bool {
        false
    }
    /// See [`Source::connect`].
    ///
    /// # Errors
    /// As there.
    fn connect(&self, env: &Env, from: &From) -> Result<Vec<Partition>, Fault>;
    /// See [`Source::taken`].
    ///
    /// # Errors
    /// As there.
    fn taken(&self, within: Duration) -> Result<Vec<(u32, u64)>, Fault> {
        let _ = within;
        Ok(Vec::new())
    }
    /// See [`Source::open`].
    ///
    /// # Errors
    /// As there.
    fn open(&self, env: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault>;

    /// Says when a record happened, by the record itself.
    fn event_time<F: Fn(&Self::Item) -> Timestamp + Clone + 'static>(
        self,
        at: F,
    ) -> Timed<Self, ByValue<F, Self::Item>> {
        Timed { source: self, clock: ByValue(at, PhantomData), pace: Pace::default() }
    }

    /// Takes the timestamp that the writer gave each record in the log as its event time.
    fn log_time(self) -> Timed<Self, ByStamp> {
        Timed { source: self, clock: ByStamp, pace: Pace::default() }
    }

    /// Reads without event time: every record happens at the start of time, so no window may follow.
    fn no_event_time(self) -> Timed<Self, Never> {
        Timed { source: self, clock: Never, pace: Pace { timed: false, ..Pace::default() } }
    }
}

/// Where event time comes from.
pub trait Clocked<T>: Clone + 'static {
    /// When it happened.
    fn at(&self, arrival: &Arrival, value: &T) -> Timestamp;
}

/// Event time by a function of the record.
#[derive(Debug)]
pub struct ByValue<F, T>(F, PhantomData<fn(&T)>);
impl<F: Clone, T> Clone for ByValue<F, T> {
    fn clone(&self) -> Self {
        ByValue(self.0.clone(), PhantomData)
    }
}
impl<T: 'static, F: Fn(&T) -> Timestamp + Clone + 'static> Clocked<T> for ByValue<F, T> {
    #[inline]
    fn at(&self, _: &Arrival, value: &T) -> Timestamp {
        (self.0)(value)
    }
}

/// Event time by the writer's timestamp in the log.
#[derive(Clone, Copy, Debug)]
pub struct ByStamp;
impl<T> Clocked<T> for ByStamp {
    #[inline]
    fn at(&self, arrival: &Arrival, _: &T) -> Timestamp {
        arrival.stamp
    }
}

/// No event time.
#[derive(Clone, Copy, Debug)]
pub struct Never;
impl<T> Clocked<T> for Never {
    #[inline]
    fn at(&self, _: &Arrival, _: &T) -> Timestamp {
        Timestamp::MIN
    }
}

/// A source with its event time.
#[derive(Clone, Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct Timed<S, C> {
    source: S,
    clock: C,
    pace: Pace,
}

impl<S, C> Timed<S, C> {
    /// Records of a partition come at most this much out of order: the watermark stays that far behind the newest. Default 0.
    pub fn out_of_order(mut self, bound: Duration) -> Self {
        self.pace.bound_micros = span_micros(bound);
        self
    }

    /// A partition without new records for this long no longer holds the watermark back. Off by default, since what then becomes late
    /// depends on the clock: an answer that is a function of the log alone is given up for it.
    pub fn idle_after(mut self, silence: Duration) -> Self {
        self.pace.idle_after = Some(silence);
        self
    }

    /// A record further than this beyond its own log timestamp does not advance the watermark. Default 24 hours.
    pub fn future_guard(mut self, bound: Duration) -> Self {
        self.pace.guard_micros = span_micros(bound);
        self
    }
}

impl<S: Untimed, C: Clocked<S::Item>> Source for Timed<S, C> {
    type Item = S::Item;
    type Reader = TimedReader<S::Reader, C>;

    fn plan(&self) -> SourcePlan {
        SourcePlan { bound_micros: self.pace.bound_micros, ..self.source.plan() }
    }
    fn pace(&self) -> Pace {
        self.pace
    }
    fn system(&self) -> Option<String> {
        self.source.system()
    }
    fn redriven(&self, name: &str, topic: &str) -> Option<Self> {
        let source = self.source.redriven(name, topic)?;
        Some(Timed { source, clock: self.clock.clone(), pace: self.pace })
    }
    fn grows(&self) -> bool {
        self.source.grows()
    }
    fn connect(&self, env: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        let found = self.source.connect(env, from)?;
        if found.is_empty() {
            return Err(Fault::new(Exit::Usage, format!("{} has no partitions to read", self.source.plan().from)));
        }
        Ok(found)
    }
    fn taken(&self, within: Duration) -> Result<Vec<(u32, u64)>, Fault> {
        self.source.taken(within)
    }
    fn open(&self, env: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        Ok(TimedReader { reader: self.source.open(env, assigned, waker)?, clock: self.clock.clone() })
    }
}

/// Reads a [`Timed`] source: puts the event time into [`Arrival::stamp`].
#[derive(Debug)]
pub struct TimedReader<R, C> {
    reader: R,
    clock: C,
}

struct Stamping<'a, C, O> {
    clock: &'a C,
    into: &'a mut O,
}

impl<T, C: Clocked<T>, O: Collect<T>> Collect<T> for Stamping<'_, C, O> {
    #[inline]
    fn take(&mut self, mut arrival: Arrival, value: T) {
        arrival.stamp = self.clock.at(&arrival, &value);
        self.into.take(arrival, value);
    }
    fn promise(&mut self, watermark: Timestamp) {
        self.into.promise(watermark);
    }
    fn again(&mut self, offset: u64, request: &Request) -> bool {
        self.into.again(offset, request)
    }
    fn passed(&mut self, next: u64) {
        self.into.passed(next);
    }
    fn refuse(&mut self, arrival: Arrival, reason: String) {
        self.into.refuse(arrival, reason);
    }
}

impl<T: Data, R: Reader<T>, C: Clocked<T>> Reader<T> for TimedReader<R, C> {
    fn add(&mut self, assigned: &Assigned) -> Result<(), Fault> {
        self.reader.add(assigned)
    }
    #[inline]
    fn read<O: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut O) -> Result<Read, Fault> {
        self.reader.read(slot, most, &mut Stamping { clock: &self.clock, into })
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.reader.seek(slot, offset)
    }
    fn keep_originals(&mut self) {
        self.reader.keep_originals();
    }
    fn original(&mut self, slot: usize, offset: u64) -> Option<Original> {
        self.reader.original(slot, offset)
    }
    fn end(&mut self, slot: usize) -> Option<u64> {
        self.reader.end(slot)
    }
    fn log_end(&mut self, slot: usize) -> Option<u64> {
        self.reader.log_end(slot)
    }
}
