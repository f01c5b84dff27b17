//! The log as tools see it: the registry of job versions in a topic of its own, committed outputs, and deleting what a version owned.
//!
//! The registry's writers are one name, and the log lets one of them be open at a time: that lock is the fence. It is held for a read and a
//! write, and whoever finds it taken waits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use millpond_engine::ledger::{Added, Committed, CommittedRecord, Decide, Doomed, EachWhole, Ledger, Own, REGISTRY};
use millpond_engine::{Fault, Lines};
use millpond_state::Timestamp;

use crate::log::{Log, LogError, Reader, Record, Settings, Start, Writer};

/// How long a topic of tools that somebody else writes is waited for. Each holds it for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(5);
/// Small segments, so that what was said long ago goes soon.
const SEGMENT: u64 = 1 << 20;
const BLOCK: usize = 1 << 20;

/// A log's ledger.
#[derive(Clone, Debug)]
pub(super) struct LogLedger {
    log: Log,
}

impl LogLedger {
    pub(super) fn new(log: Log) -> Self {
        LogLedger { log }
    }

    /// The writer of a topic of tools, once nobody else has it.
    fn fence(&self, own: Own<'_>) -> Result<Writer, Fault> {
        let log = Log::open(self.log.dir())?;
        let settings = Settings::partitions(1);
        let settings = if own.compacted { settings.compacted().segment_bytes(SEGMENT) } else { settings };
        match log.create_topic(own.topic, settings) {
            Ok(_) | Err(LogError::TopicExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let begun = Instant::now();
        loop {
            match log.writer(own.writer) {
                Err(LogError::Locked { .. }) if begun.elapsed() < PATIENCE => thread::sleep(BETWEEN),
                other => return Ok(other?),
            }
        }
    }

    fn newest(&self) -> Result<BTreeMap<String, Vec<u8>>, LogError> {
        let mut newest = BTreeMap::new();
        let mut reader = match self.log.reader(REGISTRY, 0, Start::Earliest) {
            Ok(reader) => reader,
            Err(LogError::NoSuchTopic { .. }) => return Ok(newest),
            Err(error) => return Err(error),
        };
        while let Some(block) = reader.read_block(BLOCK)? {
            for record in block.records() {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                match record.value {
                    Some(value) => drop(newest.insert(key, value.to_owned())),
                    None => drop(newest.remove(&key)),
                }
            }
            reader.reuse(block);
        }
        Ok(newest)
    }
}

impl Lines for Log {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(LogLedger::new(self.clone()))
    }
}

/// What is not there is none of it.
fn there<T>(found: Result<T, LogError>) -> Result<Option<T>, Fault> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(LogError::NoSuchTopic { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Ledger for LogLedger {
    fn name(&self) -> String {
        format!("the log in {}", self.log.dir().display())
    }

    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        Ok(self.newest()?.into_iter().collect())
    }

    fn decide(&self, key: &str, decide: Decide<'_>) -> Result<(), Fault> {
        self.append(Own::REGISTRY, &mut || {
            let next = decide(self.newest()?.get(key).map(Vec::as_slice))?;
            let added = |next| Added { key: Some(key.as_bytes().to_owned()), value: Some(next), headers: Vec::new() };
            Ok(next.map(added).into_iter().collect())
        })
    }

    fn append(&self, own: Own<'_>, decide: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault> {
        let mut writer = self.fence(own)?;
        let claim = writer.claim(own.topic)?;
        let added = decide()?;
        if added.is_empty() {
            return Ok(());
        }
        let epoch = writer.last_commit().map_or(1, |commit| commit.epoch + 1);
        for Added { key, value, headers } in &added {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let (key, value) = (key.as_deref(), value.as_deref());
            writer.append(claim, 0, &Record { event_time: Timestamp::EPOCH, key, value, headers: &headers })?;
        }
        writer.commit(epoch, b"")?;
        if own.compacted {
            writer.compact()?;
        }
        Ok(())
    }

    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        there(self.log.offsets(output))
    }

    fn find(&self, output: &str, time: Timestamp) -> Result<Vec<u64>, Fault> {
        let Some(kept) = self.kept(output)? else { return Ok(Vec::new()) };
        let partitions = 0..u32::try_from(kept.len()).expect("a topic has less than four billion partitions");
        let found = partitions.map(|number| Ok(self.log.reader(output, number, Start::Time(time))?.next_offset()));
        found.collect()
    }

    fn read(&self, output: &str, partition: u32, from: u64) -> Result<Box<dyn Committed>, Fault> {
        Ok(Box::new(LogCommitted { reader: self.log.reader(output, partition, Start::Offset(from))? }))
    }

    fn wait(&self, most: Duration) {
        let _ = self.log.wait(self.log.commits_here(), most);
    }

    fn delete(&self, owner: &str, outputs: &[Doomed]) -> Result<(), Fault> {
        if self.log.writers()?.iter().any(|writer| writer == owner) {
            // Its lock is the proof that it does not run, wherever its state is.
            drop(self.log.writer(owner)?);
        }
        for Doomed { topic: name, .. } in outputs {
            let Some(topic) = there(self.log.topic(name))? else { continue };
            // The log knows whose it is.
            if topic.writer.as_deref() == Some(owner) {
                there(self.log.delete_topic(name))?;
            }
        }
        if self.log.writers()?.iter().any(|writer| writer == owner) {
            self.log.delete_writer(owner)?;
        }
        Ok(())
    }
}

struct LogCommitted {
    reader: Reader,
}

impl Committed for LogCommitted {
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault> {
        self.read_whole(&mut |record, _| each(record))
    }

    fn read_whole(&mut self, each: EachWhole<'_>) -> Result<bool, Fault> {
        let Some(block) = self.reader.read_block(BLOCK)? else { return Ok(false) };
        for record in block.records() {
            let (offset, at) = (record.offset, record.event_time);
            each(CommittedRecord { offset, at, key: record.key, value: record.value }, &mut record.headers.into_iter());
        }
        self.reader.reuse(block);
        Ok(true)
    }

    fn next(&self) -> u64 {
        self.reader.next_offset()
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::Exit;

    use super::*;

    #[test]
    fn deciders_come_one_after_the_other_and_a_refusal_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = LogLedger::new(Log::at(dir.path().join("log")));
        assert_eq!(ledger.entries().unwrap(), []);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let more = |value: Option<&[u8]>| Ok(Some([value.unwrap_or_default(), b"x"].concat()));
                        ledger.decide("views", &mut { more }).unwrap();
                    }
                });
            }
        });
        assert_eq!(ledger.entries().unwrap(), [("views".to_owned(), vec![b'x'; 20])]);
        let refused = ledger.decide("views", &mut |_| Err(Fault::new(Exit::Refused, "no")));
        assert_eq!(refused.unwrap_err().exit(), Exit::Refused);
        ledger.decide("other", &mut |value| Ok(value.map(<[u8]>::to_owned))).unwrap();
        assert_eq!(ledger.entries().unwrap().len(), 1);
    }

    #[test]
    fn what_was_said_long_ago_goes_and_what_holds_stays() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = LogLedger::new(Log::at(dir.path()));
        ledger.decide("quiet", &mut |_| Ok(Some(b"once".to_vec()))).unwrap();
        for number in 0..40u8 {
            ledger.decide("views", &mut |_| Ok(Some(vec![number; 100_000]))).unwrap();
        }
        let entries = ledger.entries().unwrap();
        assert_eq!(entries[0], ("quiet".to_owned(), b"once".to_vec()));
        assert_eq!(entries[1].1, vec![39; 100_000]);
        let sizes = std::fs::read_dir(dir.path().join("topics").join(REGISTRY).join("0")).unwrap();
        let kept: u64 = sizes.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(kept < 3 << 20, "{kept} bytes are kept of 4 MB");
    }

    #[test]
    fn only_what_a_version_wrote_is_deleted_and_again_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        for (topic, owner) in [("views", "views@1"), ("views.v2", "views@2")] {
            log.create_topic(topic, Settings::partitions(1)).unwrap();
            let mut writer = log.writer(owner).unwrap();
            let claim = writer.claim(topic).unwrap();
            writer.append(claim, 0, &Record::new(Timestamp::from_secs(7), b"row")).unwrap();
            writer.commit(1, b"").unwrap();
        }
        let ledger = LogLedger::new(log.clone());
        let doomed = |topic: &str| Doomed { topic: topic.to_owned(), id: None };
        let both = [doomed("views"), doomed("views.v2"), doomed("never")];
        for _ in 0..2 {
            ledger.delete("views@1", &both).unwrap();
            assert_eq!(ledger.kept("views").unwrap(), None);
            assert_eq!(ledger.kept("views.v2").unwrap().unwrap().first(), Some(&(0..1)));
            assert_eq!(log.writers().unwrap(), ["views@2"]);
        }
        assert_eq!(ledger.find("views.v2", Timestamp::from_secs(7)).unwrap(), [0]);
        assert_eq!(ledger.find("views.v2", Timestamp::from_secs(8)).unwrap(), [1]);
        let mut rows = Vec::new();
        let mut reader = ledger.read("views.v2", 0, 0).unwrap();
        while reader.read(&mut |row| rows.push(row.value.unwrap().to_owned())).unwrap() {}
        assert_eq!((rows, reader.next()), (vec![b"row".to_vec()], 1));
    }
}
