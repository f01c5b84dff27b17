//! A bounded source over vectors, for tests and benches: one vector a partition.

use std::sync::Arc;

use millpond_engine::source::{
    Arrival, Assigned, Collect, Env, From, Original, Partition, Read, Reader, SourcePlan, Waker,
};
use millpond_engine::{Fault, Untimed};
use millpond_state::{Data, Timestamp};

use crate::begin;

/// Reads vectors, one a partition, and ends after the last of each. The vectors are shared by all workers and drawings; records are cloned.
///
/// ```
/// use millpond_connectors::vec;
/// use millpond_engine::Untimed;
/// use millpond_state::Timestamp;
/// let source = vec(vec![vec![(1, "a".to_owned())], vec![(2, "b".to_owned())]]).event_time(|(at, _)| Timestamp::from_secs(*at));
/// # let _ = source;
/// ```
pub fn vec<T: Data + Sync>(partitions: impl Into<Arc<Vec<Vec<T>>>>) -> VecSource<T> {
    VecSource { partitions: partitions.into() }
}

/// What [`vec()`] makes.
#[derive(Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct VecSource<T> {
    partitions: Arc<Vec<Vec<T>>>,
}

impl<T> Clone for VecSource<T> {
    fn clone(&self) -> Self {
        VecSource { partitions: Arc::clone(&self.partitions) }
    }
}

impl<T: Data + Sync> Untimed for VecSource<T> {
    type Item = T;
    type Reader = VecReader<T>;

    fn plan(&self) -> SourcePlan {
        let from = format!("{} partitions", self.partitions.len());
        SourcePlan { kind: "vec".to_owned(), from, bounded: true, bound_micros: 0 }
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        let partitions = self.partitions.iter().zip(0..).map(|(items, partition)| {
            let end = items.len() as u64;
            let start = begin::at(from, partition, Some(end), "a vector")?;
            Ok(Partition { partition, start, end, fingerprint: format!("{end} records") })
        });
        partitions.collect()
    }

    fn open(&self, _: &Env, assigned: &[Assigned], _: Waker) -> Result<VecReader<T>, Fault> {
        Ok(VecReader { partitions: Arc::clone(&self.partitions), slots: assigned.to_vec() })
    }
}

/// Reads a [`VecSource`].
#[derive(Debug)]
pub struct VecReader<T> {
    partitions: Arc<Vec<Vec<T>>>,
    slots: Vec<Assigned>,
}

impl<T: Data + Sync> Reader<T> for VecReader<T> {
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let slot = &mut self.slots[slot];
        let items = self.partitions.get(slot.partition as usize).map_or(&[][..], Vec::as_slice);
        let end = slot.end.unwrap_or(u64::MAX).min(items.len() as u64);
        let to = end.min(slot.next.saturating_add(most as u64));
        // `to` is no more than a length, so that both fit.
        let part = items.get(slot.next as usize..to as usize).unwrap_or_default();
        let bytes = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        for (item, offset) in part.iter().zip(slot.next..) {
            into.take(Arrival { offset, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes }, item.clone());
        }
        slot.next = slot.next.max(to);
        Ok(if slot.next >= end { Read::Finished } else { Read::More })
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.slots[slot].next = offset;
        Ok(())
    }

    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }

    fn end(&mut self, slot: usize) -> Option<u64> {
        self.partitions.get(self.slots[slot].partition as usize).map(|items| items.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{self, Taken};

    fn source() -> VecSource<u32> {
        vec(vec![(0..10).collect(), vec![], vec![7]])
    }

    #[test]
    fn every_position_is_a_place_to_go_on_from() {
        for next in 0..=10 {
            for most in [1, 3, 100] {
                let assigned = [Assigned { partition: 0, next, end: None }];
                let mut reader = source().open(&trial::env(), &assigned, trial::waker()).unwrap();
                let taken = trial::read_all(&mut reader, 0, most);
                assert_eq!(taken.offsets(), (next..10).collect::<Vec<_>>());
                assert_eq!(taken.values(), (next as u32..10).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_end_within_the_vector_holds() {
        let assigned = [Assigned { partition: 0, next: 2, end: Some(4) }];
        let mut reader = source().open(&trial::env(), &assigned, trial::waker()).unwrap();
        assert_eq!(trial::read_all(&mut reader, 0, 100).values(), [2, 3]);
        reader.seek(0, 3).unwrap();
        assert_eq!(trial::read_all(&mut reader, 0, 100).values(), [3]);
    }

    #[test]
    fn a_start_is_found_by_offset_and_not_by_time() {
        let starts = |from: &From| -> Result<Vec<_>, Fault> {
            Ok(source().connect(&trial::env(), from)?.iter().map(|found| found.start).collect())
        };
        assert_eq!(starts(&From::Earliest).unwrap(), [0, 0, 0]);
        assert_eq!(starts(&From::Latest).unwrap(), [10, 0, 1]);
        assert_eq!(starts(&From::Offsets(vec![(0, 4), (2, 1)])).unwrap(), [4, 0, 1]);
        assert!(starts(&From::Offsets(vec![(2, 2)])).unwrap_err().to_string().contains("ends at 1"));
        assert!(starts(&From::Time(Timestamp::EPOCH)).unwrap_err().to_string().contains("no times"));
    }

    #[test]
    fn a_reader_has_only_its_own_partitions() {
        let assigned = [Assigned { partition: 2, next: 0, end: None }, Assigned { partition: 1, next: 0, end: None }];
        let mut reader = source().open(&trial::env(), &assigned, trial::waker()).unwrap();
        let mut taken = Taken::default();
        assert_eq!(reader.read(1, 5, &mut taken).unwrap(), Read::Finished);
        assert_eq!(reader.read(0, 5, &mut taken).unwrap(), Read::Finished);
        assert_eq!((taken.values(), reader.end(0)), (vec![7], Some(1)));
    }
}
