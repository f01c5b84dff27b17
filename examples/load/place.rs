//! Where clicks go: a topic of a Kafka cluster, or one of an embedded log.

use std::time::{Duration, Instant};

use millpond::{Fault, Timestamp};

use crate::feed::Feed;
use crate::writer::Writer;
use crate::{Options, topic, writer};

/// Appended clicks are committed, and so seen, after this long or when there are so many.
const COMMIT_AFTER: Duration = Duration::from_millis(50);
const COMMIT_AT: u64 = 10_000;

/// A topic that is written.
pub(crate) enum Place {
    Kafka { writer: Writer, partitions: u32 },
    Log { feed: Box<Feed>, committed: Instant },
}

impl Place {
    /// The topic that the options name, created where it does not exist.
    pub(crate) fn open(options: &Options) -> Result<Place, Fault> {
        if let Some(dir) = &options.log {
            let feed = Box::new(Feed::open(dir, &options.topic, options.partitions)?);
            return Ok(Place::Log { feed, committed: Instant::now() });
        }
        let settings = writer::settings(&options.brokers, &options.kafka)?;
        let partitions = topic::partitions(&settings, &options.topic, options.partitions)?;
        let writer = Writer::open(&settings, &options.topic, options.transaction)?;
        Ok(Place::Kafka { writer, partitions })
    }

    pub(crate) fn partitions(&self) -> u32 {
        match self {
            Place::Kafka { partitions, .. } => *partitions,
            Place::Log { feed, .. } => feed.partitions,
        }
    }

    /// Writes one record. On Kafka its timestamp is the time of writing.
    pub(crate) fn write(&mut self, partition: u32, at: Timestamp, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match self {
            Place::Kafka { writer, .. } => writer.write(partition, key, value),
            Place::Log { feed, committed } => {
                feed.append(partition, at, key, value)?;
                if feed.open >= COMMIT_AT { commit(feed, committed) } else { Ok(()) }
            }
        }
    }

    /// What was written is seen before the writer pauses.
    pub(crate) fn pause(&mut self, span: Duration) -> Result<(), Fault> {
        if let Place::Log { feed, committed } = self
            && committed.elapsed() >= COMMIT_AFTER
        {
            commit(feed, committed)?;
        }
        std::thread::sleep(span);
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        match self {
            Place::Kafka { writer, .. } => writer.finish(),
            Place::Log { mut feed, .. } => feed.commit(),
        }
    }
}

fn commit(feed: &mut Feed, committed: &mut Instant) -> Result<(), Fault> {
    *committed = Instant::now();
    feed.commit()
}
