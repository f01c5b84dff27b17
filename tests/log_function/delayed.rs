//! A source around another one that lets some partitions wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millpond::source::{Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond::{Env, Fault, Untimed};

use crate::seeded::Seeded;

/// What waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Delay {
    /// Nothing.
    None,
    /// One partition is not there for a while, then slow.
    Partition(u32),
    /// Each read waits or not, by chance, and gives a batch of a length by chance.
    Random(u64),
}

/// Reads `inner`, delayed.
#[derive(Clone)]
pub(crate) struct Delayed<S> {
    pub(crate) inner: S,
    pub(crate) delay: Delay,
}

impl<S: Untimed> Untimed for Delayed<S> {
    type Item = S::Item;
    type Reader = DelayedReader<S::Reader>;

    fn plan(&self) -> SourcePlan {
        self.inner.plan()
    }
    fn connect(&self, env: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        self.inner.connect(env, from)
    }
    fn open(&self, env: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        let open = Arc::new(AtomicBool::new(true));
        if !matches!(self.delay, Delay::None) {
            let (open, waker) = (Arc::clone(&open), waker.clone());
            std::thread::spawn(move || {
                while open.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    waker.wake();
                }
            });
        }
        let seed = if let Delay::Random(seed) = self.delay { seed } else { 0 };
        Ok(DelayedReader {
            inner: self.inner.open(env, assigned, waker)?,
            delay: self.delay,
            partitions: assigned.iter().map(|slot| slot.partition).collect(),
            until: Instant::now() + Duration::from_millis(80),
            random: Seeded(seed ^ assigned.first().map_or(0, |slot| slot.next << 8 | u64::from(slot.partition))),
            open,
        })
    }
}

pub(crate) struct DelayedReader<R> {
    inner: R,
    delay: Delay,
    partitions: Vec<u32>,
    until: Instant,
    random: Seeded,
    open: Arc<AtomicBool>,
}

impl<R> Drop for DelayedReader<R> {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

impl<T, R: Reader<T>> Reader<T> for DelayedReader<R> {
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let most = match self.delay {
            Delay::Partition(late) if late == self.partitions[slot] => {
                if Instant::now() < self.until {
                    return Ok(Read::Later);
                }
                most.min(64)
            }
            Delay::Random(_) => match self.random.below(8) {
                0 => return Ok(Read::Later),
                1 => most.min(1),
                2..4 => most.min(1 + self.random.below(300) as usize),
                _ => most,
            },
            _ => most,
        };
        self.inner.read(slot, most, into)
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.inner.seek(slot, offset)
    }
    fn original(&mut self, slot: usize, offset: u64) -> Option<Original> {
        self.inner.original(slot, offset)
    }
    fn end(&mut self, slot: usize) -> Option<u64> {
        self.inner.end(slot)
    }
}
