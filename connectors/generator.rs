//! A source that makes its records: as fast as asked for, the same ones after every start.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use millpond_engine::source::{
    Arrival, Assigned, Collect, Env, From, Original, Partition, Read, Reader, SourcePlan, Waker,
};
use millpond_engine::{Exit, Fault, Untimed};
use millpond_state::{Data, Timestamp};

use crate::begin;

/// Makes records: `make` is called with the partition and the index of the record in it, from 0, and must return the same record for the
/// same index whenever it is called. Endless and as fast as it is read, until told otherwise.
///
/// ```
/// use millpond_connectors::{Dice, generate};
/// // A hundred readings a second from three sensors, the same ones after every restart.
/// let readings = generate(3, |sensor, index| {
///     let mut dice = Dice::of(7, sensor, index);
///     (sensor, index * 30, 20.0 + dice.fraction() * 5.0)
/// })
/// .per_second(100)
/// .count(10_000);
/// # let _ = readings;
/// ```
pub fn generate<T: Data, F: Fn(u32, u64) -> T + Clone + 'static>(partitions: u32, make: F) -> Generator<F> {
    Generator { partitions, make, per_second: None, count: None }
}

/// What [`generate`] makes.
#[derive(Clone, Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct Generator<F> {
    partitions: u32,
    make: F,
    per_second: Option<u64>,
    count: Option<u64>,
}

impl<F> Generator<F> {
    /// So many records a second, over all partitions together, by this machine's clock. What was missed while the job could not read is
    /// made up for. Default: as many as are read.
    pub fn per_second(mut self, records: u64) -> Self {
        self.per_second = Some(records);
        self
    }

    /// Ends after so many records, over all partitions together. Default: never.
    pub fn count(mut self, records: u64) -> Self {
        self.count = Some(records);
        self
    }

    /// A partition's part of a number for all partitions.
    fn share(&self, of: u64, partition: u32) -> u64 {
        let partitions = u64::from(self.partitions);
        of / partitions + u64::from(u64::from(partition) < of % partitions)
    }

    fn end(&self, partition: u32) -> u64 {
        self.count.map_or(u64::MAX, |count| self.share(count, partition))
    }
}

impl<T: Data, F: Fn(u32, u64) -> T + Clone + 'static> Untimed for Generator<F> {
    type Item = T;
    type Reader = GeneratorReader<F>;

    fn plan(&self) -> SourcePlan {
        let from = format!("{} partitions", self.partitions);
        SourcePlan { kind: "generator".to_owned(), from, bounded: self.count.is_some(), bound_micros: 0 }
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        let partitions = (0..self.partitions).map(|partition| {
            let end = self.end(partition);
            let start = begin::at(from, partition, self.count.map(|_| end), "a generator")?;
            Ok(Partition { partition, start, end, fingerprint: "generator".to_owned() })
        });
        partitions.collect()
    }

    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<GeneratorReader<F>, Fault> {
        let slots = assigned.iter().map(|assigned| Slot {
            partition: assigned.partition,
            next: assigned.next,
            begun: assigned.next,
            end: self.end(assigned.partition).min(assigned.end.unwrap_or(u64::MAX)),
        });
        let slots = slots.collect();
        let pace = match self.per_second {
            None => None,
            Some(rate) => {
                Some(Pace { gap: gap(rate, self.partitions), since: Instant::now(), alarm: Alarm::start(waker)? })
            }
        };
        Ok(GeneratorReader { slots, make: self.make.clone(), pace })
    }
}

/// The time between two records of one partition.
fn gap(rate: u64, partitions: u32) -> Duration {
    Duration::from_nanos(
        (1_000_000_000_u128 * u128::from(partitions))
            .checked_div(rate.into())
            .map_or(u64::MAX, |gap| u64::try_from(gap).unwrap_or(u64::MAX)),
    )
}

/// Reads a [`Generator`].
#[derive(Debug)]
pub struct GeneratorReader<F> {
    slots: Vec<Slot>,
    make: F,
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Slot {
    partition: u32,
    next: u64,
    /// Where it stood when the reader was opened.
    begun: u64,
    end: u64,
}

#[derive(Debug)]
struct Pace {
    gap: Duration,
    since: Instant,
    alarm: Alarm,
}

impl Pace {
    /// How many records of a partition are due since it was opened.
    fn due(&self) -> u64 {
        let passed = self.since.elapsed().as_nanos();
        u64::try_from(passed / self.gap.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// Has the worker woken when that many are due.
    fn wake_at(&self, count: u64) {
        let nanos = self.gap.as_nanos().saturating_mul(count.into());
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if let Some(at) = self.since.checked_add(span) {
            self.alarm.set(at);
        }
    }
}

impl<T: Data, F: Fn(u32, u64) -> T + Clone + 'static> Reader<T> for GeneratorReader<F> {
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let Slot { partition, next, begun, end } = &mut self.slots[slot];
        if *next >= *end {
            return Ok(Read::Finished);
        }
        let mut to = next.saturating_add(most as u64).min(*end);
        if let Some(pace) = &self.pace {
            to = to.min(begun.saturating_add(pace.due()));
            if to <= *next {
                pace.wake_at((*next - *begun).saturating_add(1));
                return Ok(Read::Later);
            }
        }
        let bytes = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        for offset in *next..to {
            let arrival = Arrival { offset, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes };
            into.take(arrival, (self.make)(*partition, offset));
        }
        *next = to;
        Ok(if to == *end { Read::Finished } else { Read::More })
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        // What was due once stays due.
        self.slots[slot].next = offset;
        Ok(())
    }

    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }

    fn end(&mut self, slot: usize) -> Option<u64> {
        Some(self.slots[slot].end).filter(|end| *end < u64::MAX)
    }
}

/// A thread that wakes a worker when a record is due. It leaves when this is dropped.
#[derive(Debug)]
struct Alarm(Sender<Instant>);

impl Alarm {
    fn start(waker: Waker) -> Result<Self, Fault> {
        let (set, asked) = unbounded();
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(move || ring(&asked, &waker));
        thread.map_err(|error| Fault::new(Exit::Retry, "the thread generator cannot be started").because(error))?;
        Ok(Alarm(set))
    }

    fn set(&self, at: Instant) {
        // The thread leaves only when this is dropped.
        let _ = self.0.send(at);
    }
}

fn ring(asked: &Receiver<Instant>, waker: &Waker) {
    let mut due: Option<Instant> = None;
    loop {
        let asked = match due {
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => asked.recv_deadline(at),
        };
        match asked {
            Ok(at) => due = Some(due.map_or(at, |before| before.min(at))),
            Err(RecvTimeoutError::Timeout) => {
                due = None;
                waker.wake();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Random choices for one record of a generator, the same ones whenever that record is made again.
///
/// ```
/// use millpond_connectors::Dice;
/// let throw = || { let mut dice = Dice::of(1, 0, 42); (dice.below(6), *dice.pick(&["red", "blue"])) };
/// assert_eq!(throw(), throw());
/// ```
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// For the record `index` of a partition. Another seed gives another world.
    #[must_use]
    pub fn of(seed: u64, partition: u32, index: u64) -> Self {
        // Numbers that differ in a bit must not give choices that look alike: each is spread over all bits before the next comes in.
        let mixed = mix(mix(seed).wrapping_add(u64::from(partition)));
        Dice(fastrand::Rng::with_seed(mix(mixed.wrapping_add(index))))
    }

    /// A number from 0 up to `sides`, without it; 0 when `sides` is 0.
    pub fn below(&mut self, sides: u64) -> u64 {
        if sides == 0 { 0 } else { self.0.u64(..sides) }
    }

    /// A number of the range, both ends included; `least` when the range is empty.
    pub fn between(&mut self, least: i64, greatest: i64) -> i64 {
        if least < greatest { self.0.i64(least..=greatest) } else { least }
    }

    /// A number from 0 up to 1, without it.
    pub fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    /// True that often: never for 0, always for 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }

    /// One of these.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        assert!(!of.is_empty(), "there is nothing to pick from");
        &of[self.0.usize(..of.len())]
    }
}

/// splitmix64's finisher.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
