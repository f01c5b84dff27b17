//! Clicks as records of an embedded log: for `load`, and for examples that make their own input.

use std::path::Path;

use millpond::log::{Claim, Log, LogError, Record, Settings, Writer};
use millpond::{Fault, Timestamp};

/// The name under which clicks are appended to an embedded log. A topic belongs to the first that writes it, so they all share it.
const NAME: &str = "load";

/// Appends to a topic of an embedded log.
pub(crate) struct Feed {
    writer: Writer,
    claim: Claim,
    pub(crate) partitions: u32,
    /// Records committed in all, by this run and those before it; the number of the last commit.
    count: u64,
    /// Records appended since.
    pub(crate) open: u64,
}

impl Feed {
    /// The topic, created with so many partitions where it does not exist. Nobody else appends clicks to this log meanwhile.
    pub(crate) fn open(dir: &Path, topic: &str, partitions: u32) -> Result<Feed, Fault> {
        let log = Log::open(dir)?;
        match log.create_topic(topic, Settings::partitions(partitions)) {
            Ok(_) | Err(LogError::TopicExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let partitions = log.offsets(topic)?.len() as u32;
        let mut writer = log.writer(NAME)?;
        let claim = writer.claim(topic)?;
        let count = writer.last_commit().map_or(0, |commit| commit.epoch);
        Ok(Feed { writer, claim, partitions, count, open: 0 })
    }

    /// Appends a record, which is seen once it is committed.
    pub(crate) fn append(&mut self, partition: u32, at: Timestamp, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.writer.append(self.claim, partition, &Record::new(at, value).key(key))?;
        self.open += 1;
        Ok(())
    }

    pub(crate) fn commit(&mut self) -> Result<(), Fault> {
        if self.open > 0 {
            self.count += std::mem::take(&mut self.open);
            self.writer.commit(self.count, b"")?;
        }
        Ok(())
    }
}
