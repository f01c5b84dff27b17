//! The thread's side of reading a log: blocks ahead of the worker, and the wait at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_engine::Fault;

use crate::ahead::{Fetch, Fetched};
use crate::log::{Block, Log, Reader};

/// How much is read at a time.
const BLOCK: usize = 256 << 10;
/// How soon commits of other processes are found. Those of this process ring.
const LOOK: Duration = Duration::from_millis(5);

/// Reads the partitions of one reader.
pub(super) struct Fetching {
    log: Log,
    readers: Vec<Reader>,
    /// The durable end of each partition, as of its last block.
    ends: Arc<[AtomicU64]>,
    /// Commits in this process before the partitions were last found at their ends.
    seen: u64,
}

impl Fetching {
    pub(super) fn new(log: Log, readers: Vec<Reader>, ends: Arc<[AtomicU64]>) -> Self {
        Fetching { log, readers, ends, seen: 0 }
    }
}

impl Fetch for Fetching {
    type Block = Block;

    fn fetch(&mut self, slot: usize, spent: Option<Block>) -> Result<Fetched<Block>, Fault> {
        let reader = &mut self.readers[slot];
        if let Some(block) = spent {
            reader.reuse(block);
        }
        // Looked at before the records, so that the end of what was read is never before this.
        self.ends[slot].store(reader.end()?, Ordering::Relaxed);
        let block = reader.read_block(BLOCK)?;
        Ok(block.map_or(Fetched::AtEnd, Fetched::Block))
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        Ok(self.readers[slot].seek(offset)?)
    }

    fn wait(&mut self) {
        // What was committed since the last wait began was perhaps not seen: then this returns at once.
        self.seen = self.log.wait(self.seen, LOOK);
    }
}
