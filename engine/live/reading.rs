//! One version's output, read along, all partitions a piece at a time.

use std::collections::VecDeque;

use millpond_state::Timestamp;

use super::LiveRow;
use crate::Fault;
use crate::ledger::{Committed, Ledger};

/// One version's output, read along.
pub(super) struct Reading {
    pub(super) version: u32,
    /// Offsets of the next records.
    pub(super) next: Vec<u64>,
    open: Vec<Option<Box<dyn Committed>>>,
}

impl Reading {
    pub(super) fn new(version: u32, next: Vec<u64>) -> Self {
        Reading { version, next, open: Vec::new() }
    }

    /// Reads a piece of each partition. `keep` says of partition, offset and event time whether a row is taken. Answers where it stood before.
    pub(super) fn read(
        &mut self,
        ledger: &dyn Ledger,
        at: &str,
        keep: impl Fn(usize, u64, Timestamp) -> bool,
        rows: &mut VecDeque<LiveRow>,
    ) -> Result<Vec<u64>, Fault> {
        // A version that has just begun has no topic yet.
        let Some(kept) = ledger.kept(at)? else { return Ok(self.next.clone()) };
        self.open.resize_with(kept.len(), || None);
        let known = self.next.len();
        self.next.extend(kept.iter().skip(known).map(|kept| kept.start));
        let before = self.next.clone();
        for (partition, (open, kept)) in self.open.iter_mut().zip(&kept).enumerate() {
            let next = &mut self.next[partition];
            if *next >= kept.end {
                continue;
            }
            let (version, number) = (self.version, partition as u32);
            let reader = match open {
                Some(reader) => reader,
                none => none.insert(ledger.read(at, number, *next)?),
            };
            reader.read(&mut |record| {
                if keep(partition, record.offset, record.at) {
                    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_owned);
                    let (key, value) = (owned(record.key), owned(record.value));
                    let (offset, at) = (record.offset, record.at);
                    rows.push_back(LiveRow { version, partition: number, offset, at, key, value });
                }
            })?;
            *next = reader.next().max(*next);
        }
        Ok(before)
    }
}
