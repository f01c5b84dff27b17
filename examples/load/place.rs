//! Where clicks go: a topic of a Kafka cluster, or one of an embedded log.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use millpond::log::{Claim, Log, LogError, Record, Settings, Writer as Appender};
use millpond::{Fault, Timestamp};

use crate::writer::Writer;
use crate::{Options, topic, writer};

/// The name under which clicks are appended to an embedded log.
const NAME: &str = "load";
/// Appended clicks are committed, and so seen, after this long or when there are so many.
const COMMIT_AFTER: Duration = Duration::from_millis(50);
const COMMIT_AT: u64 = 10_000;

/// A topic that is written.
pub(crate) enum Place {
    Kafka { writer: Writer, partitions: u32 },
    Log(Box<Feed>),
}

impl Place {
    /// The topic that the options name, created where it does not exist.
    pub(crate) fn open(options: &Options) -> Result<Place, Fault> {
        if let Some(dir) = &options.log {
            return Ok(Place::Log(Box::new(Feed::open(dir, &options.topic, options.partitions)?)));
        }
        let settings = writer::settings(&options.brokers, &options.kafka)?;
        let partitions = topic::partitions(&settings, &options.topic, options.partitions)?;
        let writer = Writer::open(&settings, &options.topic, options.transaction)?;
        Ok(Place::Kafka { writer, partitions })
    }

    pub(crate) fn partitions(&self) -> u32 {
        match self {
            Place::Kafka { partitions, .. } => *partitions,
            Place::Log(feed) => feed.partitions,
        }
    }

    /// Writes one record. On Kafka its timestamp is the time of writing.
    pub(crate) fn write(&mut self, partition: u32, at: Timestamp, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match self {
            Place::Kafka { writer, .. } => writer.write(partition, key, value),
            Place::Log(feed) => feed.write(partition, at, key, value),
        }
    }

    /// What was written is seen before the writer pauses.
    pub(crate) fn pause(&mut self, span: Duration) -> Result<(), Fault> {
        if let Place::Log(feed) = self {
            feed.commit_when_due()?;
        }
        std::thread::sleep(span);
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        match self {
            Place::Kafka { writer, .. } => writer.finish(),
            Place::Log(mut feed) => feed.commit(),
        }
    }
}

/// Appends to a topic of an embedded log.
pub(crate) struct Feed {
    writer: Appender,
    claim: Claim,
    partitions: u32,
    /// Clicks appended in all, by this run and those before it; the number of the next commit.
    count: u64,
    open: u64,
    committed: Instant,
}

impl Feed {
    fn open(dir: &PathBuf, topic: &str, partitions: u32) -> Result<Feed, Fault> {
        let log = Log::open(dir)?;
        match log.create_topic(topic, Settings::partitions(partitions)) {
            Ok(_) | Err(LogError::TopicExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let partitions = log.offsets(topic)?.len() as u32;
        let mut writer = log.writer(NAME)?;
        let claim = writer.claim(topic)?;
        let count = writer.last_commit().map_or(0, |commit| commit.epoch);
        Ok(Feed { writer, claim, partitions, count, open: 0, committed: Instant::now() })
    }

    fn write(&mut self, partition: u32, at: Timestamp, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.writer.append(self.claim, partition, &Record::new(at, value).key(key))?;
        self.open += 1;
        if self.open >= COMMIT_AT { self.commit() } else { Ok(()) }
    }

    fn commit_when_due(&mut self) -> Result<(), Fault> {
        if self.committed.elapsed() >= COMMIT_AFTER { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.open > 0 {
            self.count += std::mem::take(&mut self.open);
            self.writer.commit(self.count, b"")?;
        }
        self.committed = Instant::now();
        Ok(())
    }
}
