//! The writer: appends to the topics it claimed, and makes everything appended real with one durable record.
//!
//! A commit first makes the data of every changed partition durable, then adds one checksummed record to the writer's commit log and
//! makes that durable. The record holds the ends of the partitions and the caller's payload, so output and payload become real together
//! or not at all. Whatever was appended and not committed is cut off when a writer of that name opens again.
//!
//! After a failed write or sync nobody knows what is on the disk. The writer then refuses every further call ([`LogError::Poisoned`]);
//! opening it again finds out.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use millpond_state::Timestamp;

use super::commits::{Commit, Ends, Place};
use super::compact::{Compaction, Complete, compact};
use super::disk::Disk;
use super::journal::{Found, Journal};
use super::lock::{self, Lock};
use super::partition::Partition;
use super::record::Record;
use super::topic::{Topic, Topics, check_name};
use super::{Log, LogError, recover};

/// A topic that a writer may append to: what [`Writer::claim`] returns and [`Writer::append`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    index: usize,
    topic: u64,
}

/// Writes the topics that belong to one name. Made by [`Log::writer`]; one at a time exists of each name, in all processes.
///
/// ```
/// use millpond_connectors::log::{Log, Record, Settings, Start};
/// use millpond_state::Timestamp;
/// # let dir = tempfile::tempdir().unwrap();
/// let log = Log::open(dir.path())?;
/// log.create_topic("clicks", Settings::partitions(2))?;
/// let mut writer = log.writer("feeder")?;
/// let clicks = writer.claim("clicks")?;
/// writer.append(clicks, 0, &Record::new(Timestamp::from_secs(1), b"home"))?;
/// writer.append(clicks, 1, &Record::new(Timestamp::from_secs(2), b"cart"))?;
/// writer.commit(1, b"both or neither")?;
/// assert_eq!(writer.last_commit().unwrap().epoch, 1);
/// # Ok::<(), millpond_connectors::log::LogError>(())
/// ```
pub struct Writer {
    log: Log,
    name: String,
    disk: Disk,
    clock: Clock,
    topics: Vec<Owned>,
    journal: Journal,
    poisoned: Option<String>,
    /// Before the lock: whoever takes that next must find the files at rest.
    pub(super) compaction: Option<Compaction>,
    _lock: Lock,
}

pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send>;

struct Owned {
    topic: Topic,
    partitions: Vec<Partition>,
}

impl Writer {
    pub(super) fn open(log: &Log, name: &str, clock: Clock, disk: Disk) -> Result<Writer, LogError> {
        check_name("writer", name, true)?;
        let dir = log.writer_dir(name);
        disk.make_dirs(&dir)?;
        // They may be there without being durable, if whoever made them was stopped.
        for above in dir.ancestors().skip(1).take(2) {
            disk.sync_dir(above)?;
        }
        lock::check_local(&dir)?;
        let lock = Lock::take(&dir, name)?;
        let owned: Vec<Topic> =
            log.topics()?.into_iter().filter(|topic| topic.writer.as_deref() == Some(name)).collect();
        let commits = dir.join(super::commits::FILE);
        if !owned.is_empty() && !commits.exists() {
            // A writer makes its commit log before it claims a topic. Without it every end would be nothing, and recovery would cut
            // the topics to that.
            return Err(LogError::corrupt(&commits, 0, "it is gone, and topics that this writer wrote are not"));
        }
        let mut found = Found::read(&dir)?;
        found.keep(|id| owned.iter().any(|topic| topic.id == id));
        let mut topics = Vec::new();
        for topic in owned {
            Topics::of(log.dir()).settle(&disk, &topic.name)?;
            let owned = Owned::new(log, topic, |place| found.last.ends.get(&place).copied().unwrap_or_default());
            for partition in &owned.partitions {
                let before =
                    found.before.as_ref().map(|before| before.ends.get(&partition.place).copied().unwrap_or_default());
                recover::recover(&disk, partition, before.unwrap_or(partition.ends))?;
            }
            topics.push(owned);
        }
        let journal = Journal::begin(&disk, &dir, found)?;
        log.ring();
        Ok(Writer {
            log: log.clone(),
            name: name.to_owned(),
            disk,
            clock,
            topics,
            journal,
            poisoned: None,
            compaction: None,
            _lock: lock,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic `name` to append to. The first writer that claims a topic keeps it, over restarts too.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`], [`LogError::OwnedByOther`], and what the disk says.
    pub fn claim(&mut self, name: &str) -> Result<Claim, LogError> {
        self.check()?;
        let index = match self.topics.iter().position(|owned| owned.topic.name == name) {
            Some(index) => index,
            None => {
                let topic = Topics::of(self.log.dir()).claim(&self.disk, name, &self.name)?;
                self.topics.push(Owned::new(&self.log, topic, |_| Ends::default()));
                self.topics.len() - 1
            }
        };
        Ok(Claim { index, topic: self.topics[index].topic.id })
    }

    /// The topic of a claim.
    ///
    /// # Panics
    /// When the claim is another writer's.
    #[must_use]
    pub fn topic(&self, claim: Claim) -> &Topic {
        let topic = &self.topics[claim.index].topic;
        assert_eq!(topic.id, claim.topic, "the claim is another writer's");
        topic
    }

    /// Takes one record and returns the offset that it has once it is committed. Nobody sees it before.
    ///
    /// # Errors
    /// [`LogError::Invalid`] when there is no such partition, an upsert topic's record has no key, or the record is over 256 MiB: nothing
    /// has happened then. Any other error poisons the writer.
    ///
    /// # Panics
    /// When the claim is another writer's.
    #[inline]
    pub fn append(&mut self, to: Claim, partition: u32, record: &Record<'_>) -> Result<u64, LogError> {
        self.check()?;
        let Owned { topic, partitions } = &mut self.topics[to.index];
        assert_eq!(topic.id, to.topic, "the claim is another writer's");
        let Some(partition) = partitions.get_mut(partition as usize) else {
            return Err(LogError::Invalid(format!("topic {} has no partition {partition}", topic.name)));
        };
        if topic.settings.is_compacted() && record.key.is_none() {
            return Err(LogError::Invalid(format!(
                "topic {} keeps the newest record of each key, so each record needs one",
                topic.name
            )));
        }
        let clock = &self.clock;
        match partition.append(&self.disk, &topic.settings, record, || clock().micros()) {
            Ok(offset) => Ok(offset),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Makes everything appended since the last commit real, together with `payload`. When it returns it is durable and readers see it.
    ///
    /// # Errors
    /// Any error poisons the writer, and nobody knows whether the commit happened: open again and look at [`Writer::last_commit`].
    pub fn commit(&mut self, epoch: u64, payload: &[u8]) -> Result<(), LogError> {
        self.guarded(|writer| {
            for Owned { topic, partitions } in &mut writer.topics {
                for partition in partitions.iter_mut().filter(|partition| partition.is_changed()) {
                    partition.write_out(&writer.disk, &topic.settings)?;
                }
            }
            let changed = writer.topics.iter().flat_map(|owned| &owned.partitions).filter(|p| p.is_changed());
            let files: Vec<_> = changed.clone().flat_map(Partition::written).collect();
            writer.disk.sync_all(&files)?;
            let entries = changed.map(|partition| Ok((partition.place, partition.settle(&writer.disk)?)));
            let entries = entries.collect::<Result<Vec<_>, LogError>>()?;
            let commit = Commit { epoch, payload: payload.to_vec(), clock: (writer.clock)() };
            writer.journal.append(&writer.disk, writer.journal.last.change(entries, Some(commit)))?;
            writer.log.ring();
            for partition in writer.topics.iter_mut().flat_map(|owned| &mut owned.partitions).filter(|p| p.is_changed())
            {
                let ends = writer.journal.last.ends[&partition.place];
                partition.committed(&writer.disk, ends)?;
            }
            Ok(())
        })
    }

    /// Drops what was appended since the last commit.
    ///
    /// # Errors
    /// What the disk says; the writer is poisoned then.
    pub fn abort(&mut self) -> Result<(), LogError> {
        self.guarded(|writer| {
            let partitions = writer.topics.iter_mut().flat_map(|owned| &mut owned.partitions);
            partitions
                .filter(|partition| partition.is_changed())
                .try_for_each(|partition| partition.abort(&writer.disk))
        })
    }

    /// The newest commit, by this writer or the one of this name before it.
    #[must_use]
    pub fn last_commit(&self) -> Option<&Commit> {
        self.journal.last.commit.as_ref()
    }

    /// Removes old segments as the settings of each topic say; `now` is compared with append times. The growing segment always stays,
    /// and so does everything of upsert topics while they are [compacted](Writer::begin_compaction).
    ///
    /// # Errors
    /// What the disk says; the writer is poisoned then.
    pub fn retain(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.guarded(|writer| {
            let mut entries = Vec::new();
            let busy = writer.settle_compaction()?;
            for Owned { topic, partitions } in &writer.topics {
                if busy && topic.settings.is_compacted() {
                    continue;
                }
                for partition in partitions {
                    let start = super::retain::first_kept(&partition.dir, partition.ends, &topic.settings, now)?;
                    if start > partition.ends.start {
                        entries.push((partition.place, Ends { start, ..partition.ends }));
                    }
                }
            }
            if entries.is_empty() {
                return Ok(());
            }
            // Durable before the files go: a reader is told that the records expired, never that files are missing.
            writer.journal.append(&writer.disk, writer.journal.last.change(entries.clone(), None))?;
            for (place, ends) in entries {
                let mut partitions = writer.topics.iter_mut().flat_map(|owned| &mut owned.partitions);
                let partition =
                    partitions.find(|partition| partition.place == place).expect("the place was taken from them");
                partition.ends = ends;
                partition.remove_expired(&writer.disk)?;
            }
            Ok(())
        })
    }

    /// Rewrites the complete segments of upsert topics so that they hold the newest record of each key. Offsets keep their numbers. A
    /// tombstone stays until a later call, so that readers have the time in between to see it.
    ///
    /// # Errors
    /// What the disk says; the writer is poisoned then.
    pub fn compact(&mut self) -> Result<(), LogError> {
        self.guarded(|writer| {
            writer.compaction.take().map_or(Ok(()), Compaction::end)?;
            let go_on = AtomicBool::new(false);
            writer.complete()?.iter().try_for_each(|partition| compact(&writer.disk, partition, &go_on))
        })
    }

    /// Begins what [`Writer::compact`] does on a thread of its own, unless that is still at it, and returns at once. How it went is
    /// said by a later call of this or of [`Writer::retain`]; a writer that is dropped first stops it, at the end of a segment.
    ///
    /// # Errors
    /// What the disk says, of this compaction or the one before; the writer is poisoned then.
    pub fn begin_compaction(&mut self) -> Result<(), LogError> {
        self.guarded(|writer| {
            if !writer.settle_compaction()? {
                let complete = writer.complete()?;
                if !complete.is_empty() {
                    writer.compaction = Some(Compaction::begin(&writer.disk, complete, writer.log.dir())?);
                }
            }
            Ok(())
        })
    }

    /// Whether a compaction is under way; one that is done tells how it went.
    fn settle_compaction(&mut self) -> Result<bool, LogError> {
        if let Some(done) = self.compaction.take_if(|compaction| compaction.is_done()) {
            done.end()?;
        }
        Ok(self.compaction.is_some())
    }

    /// The partitions of upsert topics.
    fn complete(&self) -> Result<Vec<Complete>, LogError> {
        let compacted = self.topics.iter().filter(|owned| owned.topic.settings.is_compacted());
        compacted.flat_map(|owned| &owned.partitions).map(Complete::of).collect()
    }

    /// Writes out the batches being filled, as a large enough append would.
    #[cfg(test)]
    pub(super) fn write_out(&mut self) -> Result<(), LogError> {
        self.guarded(|writer| {
            for Owned { topic, partitions } in &mut writer.topics {
                partitions.iter_mut().try_for_each(|partition| partition.write_out(&writer.disk, &topic.settings))?;
            }
            Ok(())
        })
    }

    #[inline]
    fn check(&self) -> Result<(), LogError> {
        match &self.poisoned {
            None => Ok(()),
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
        }
    }

    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        self.check()?;
        act(self).map_err(|error| self.poison(error))
    }

    #[cold]
    fn poison(&mut self, error: LogError) -> LogError {
        if !matches!(error, LogError::Invalid(_)) {
            self.poisoned = Some(error.to_string());
        }
        error
    }
}

impl Owned {
    fn new(log: &Log, topic: Topic, ends: impl Fn(Place) -> Ends) -> Owned {
        let topics = Topics::of(log.dir());
        let dir = |partition| -> PathBuf { topics.partition_dir(&topic.name, partition) };
        let partitions = (0..topic.settings.partition_count())
            .map(|number| Partition::new(dir(number), (topic.id, number), ends((topic.id, number))));
        Owned { partitions: partitions.collect(), topic }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).field("log", &self.log.dir()).finish_non_exhaustive()
    }
}
