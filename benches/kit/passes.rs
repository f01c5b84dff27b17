//! The source: goes over the input in memory a number of times, each pass an hour of event time after the one before.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond::engine::source::{
    Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker,
};
use millpond::{Env, Fault, Timestamp, Untimed};

use super::load::{Load, Raw, SPAN, User, Visit};

/// Reads the input `passes` times.
pub(crate) struct Passes<K> {
    input: Arc<Load>,
    passes: u64,
    key: PhantomData<fn() -> K>,
}

impl<K> Passes<K> {
    pub(crate) fn new(input: &Arc<Load>, passes: u64) -> Self {
        Passes { input: Arc::clone(input), passes, key: PhantomData }
    }
}

impl<K: User> Untimed for Passes<K> {
    type Item = Visit<K>;
    type Reader = PassReader;

    fn plan(&self) -> SourcePlan {
        let from = format!("{} passes over {} partitions", self.passes, self.input.len());
        SourcePlan { kind: "memory".to_owned(), from, bounded: true, bound_micros: 0 }
    }

    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        let partitions = self.input.iter().zip(0..).map(|(records, partition)| {
            let end = records.len() as u64 * self.passes;
            Partition { partition, start: 0, end, fingerprint: format!("{end} records") }
        });
        Ok(partitions.collect())
    }

    fn open(&self, _: &Env, assigned: &[Assigned], _: Waker) -> Result<PassReader, Fault> {
        Ok(PassReader { input: Arc::clone(&self.input), passes: self.passes, slots: assigned.to_vec() })
    }
}

/// Reads [`Passes`].
pub(crate) struct PassReader {
    input: Arc<Load>,
    passes: u64,
    slots: Vec<Assigned>,
}

impl<K: User> Reader<Visit<K>> for PassReader {
    fn read<C: Collect<Visit<K>>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let slot = &mut self.slots[slot];
        let records = &self.input[slot.partition as usize];
        let (pass, from) = (slot.next / records.len() as u64, (slot.next % records.len() as u64) as usize);
        let part = &records[from..records.len().min(from + most)];
        let shift = pass as i64 * SPAN;
        for (raw, offset) in part.iter().zip(slot.next..) {
            let arrival =
                Arrival { offset, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes: size_of::<Raw>() as u32 };
            into.take(arrival, raw.visit(shift));
        }
        slot.next += part.len() as u64;
        let end = records.len() as u64 * self.passes;
        Ok(if slot.next >= end { Read::Finished } else { Read::More })
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.slots[slot].next = offset;
        Ok(())
    }

    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }

    fn end(&mut self, _: usize) -> Option<u64> {
        None
    }
}
