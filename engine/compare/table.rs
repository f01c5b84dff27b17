//! A table: of the changes that an output holds, the newest value of each key, and no row for keys that were deleted.

use std::path::Path;

use millpond_state::Timestamp;

use super::rows::Row;
use super::sorted::{Sorted, Sorter};
use crate::Fault;
use crate::ledger::CommittedRecord;

/// Before a change's value in what is sorted: its offset, and whether there is a value at all.
const HEADER: usize = 9;

/// Takes changes. Those of a key lie in one partition, so that their offsets say which is the newest.
#[derive(Debug)]
pub(super) struct Changes {
    sorter: Sorter,
    value: Vec<u8>,
}

impl Changes {
    pub(super) fn new(scratch: &Path, memory: usize) -> Self {
        Changes { sorter: Sorter::new(scratch, memory), value: Vec::new() }
    }

    pub(super) fn push(&mut self, record: CommittedRecord<'_>) -> Result<(), Fault> {
        self.value.clear();
        self.value.extend_from_slice(&record.offset.to_be_bytes());
        self.value.push(record.value.is_some().into());
        self.value.extend_from_slice(record.value.unwrap_or_default());
        self.sorter.push(Row { at: Timestamp::MIN, key: record.key, value: Some(&self.value) })
    }

    pub(super) fn table(self) -> Result<Table, Fault> {
        let mut table = Table { changes: self.sorter.sorted()?, key: Vec::new(), value: Vec::new(), more: true };
        table.next()?;
        Ok(table)
    }
}

/// The table's rows by key, one at a time.
#[derive(Debug)]
pub(super) struct Table {
    changes: Sorted,
    key: Vec<u8>,
    /// As it was sorted, with its header.
    value: Vec<u8>,
    more: bool,
}

impl Table {
    pub(super) fn current(&self) -> Option<Row<'_>> {
        let row =
            Row { at: Timestamp::MIN, key: Some(&self.key), value: Some(&self.value[HEADER.min(self.value.len())..]) };
        self.more.then_some(row)
    }

    /// Goes on to the next key that has a value.
    pub(super) fn next(&mut self) -> Result<(), Fault> {
        while let Some(row) = self.changes.current() {
            self.key.clear();
            self.key.extend_from_slice(row.key.unwrap_or_default());
            while let Some(row) = self.changes.current().filter(|row| row.key.unwrap_or_default() == self.key) {
                self.value.clear();
                self.value.extend_from_slice(row.value.unwrap_or_default());
                self.changes.next()?;
            }
            if self.value[HEADER - 1] != 0 {
                return Ok(());
            }
        }
        self.more = false;
        Ok(())
    }
}
