//! An embedded log: topics and partitions in a directory, written with atomic commits, read while it is written.
//!
//! What is promised:
//! - A record that was returned by a reader is durable, and stays: no crash and no loss of power takes it back.
//! - [`Writer::commit`] makes everything appended since the last commit real at once, over partitions and topics, together with a payload
//!   of the caller's; or, after a crash at any moment, nothing of it.
//! - A topic has one writer, by name, for its whole life; a writer's name is open in one place at a time. Feeders, versions of jobs and
//!   tools write different topics of one log at once.
//! - Bytes that are not what was written are an error that names file and place. Nothing is guessed.
//!
//! What is not: a log lies on a local disk of one host, and all its writers and readers run there.
//!
//! Modules: `writer`, `partition`, `recover`, `retain`, `compact` write; `reader`, `tail` read; `topic` keeps settings; `commits` and
//! `journal` are the commit log; `segment`, `batch`, `block`, `record`, `index` the data files; `disk` and `lock` the ways to the system. The file
//! format is drawn in `docs/log-format.md`.
//!
//! ```
//! use millpond_connectors::log::{Log, Record, Settings, Start};
//! use millpond_state::Timestamp;
//! # let dir = tempfile::tempdir().unwrap();
//! let log = Log::open(dir.path())?;
//! log.create_topic("words", Settings::partitions(1))?;
//! let mut writer = log.writer("example")?;
//! let words = writer.claim("words")?;
//! writer.append(words, 0, &Record::new(Timestamp::from_secs(1), b"hello").key(b"k"))?;
//! writer.commit(1, b"")?;
//! let mut reader = log.reader("words", 0, Start::Earliest)?;
//! let block = reader.read_block(1 << 20)?.expect("one record is committed");
//! assert_eq!(block.records().next().unwrap().value, Some(&b"hello"[..]));
//! # Ok::<(), millpond_connectors::log::LogError>(())
//! ```

mod batch;
mod block;
mod bytes;
mod commits;
mod compact;
mod disk;
mod error;
mod index;
mod journal;
mod lock;
mod partition;
mod reader;
mod record;
mod recover;
mod retain;
mod segment;
mod tail;
mod topic;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use millpond_state::Timestamp;

pub use block::{Block, Cursor, Records};
pub use commits::Commit;
pub use error::LogError;
pub use reader::{Reader, Start};
pub use record::{Headers, Record, RecordRef};
pub use topic::{Settings, Topic};
pub use writer::{Claim, Writer};

use disk::Disk;
use tail::Tail;
use topic::Topics;

/// A log directory. Cheap to clone and to send; holds no file open.
///
/// ```
/// use millpond_connectors::log::{Log, Settings};
/// # let dir = tempfile::tempdir().unwrap();
/// let log = Log::open(dir.path())?;
/// log.create_topic("clicks", Settings::partitions(3))?;
/// assert_eq!(log.offsets("clicks")?, [0..0, 0..0, 0..0]);
/// # Ok::<(), millpond_connectors::log::LogError>(())
/// ```
#[derive(Clone)]
pub struct Log {
    dir: PathBuf,
    shared: Arc<Shared>,
}

/// What all handles of one directory in this process have in common.
#[derive(Default)]
struct Shared {
    commits: Mutex<u64>,
    bell: Condvar,
    tails: Mutex<HashMap<String, Weak<Mutex<Tail>>>>,
}

static SHARED: Mutex<Vec<(PathBuf, Weak<Shared>)>> = Mutex::new(Vec::new());

impl Log {
    /// The log in `dir`, which is created if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn open(dir: impl AsRef<Path>) -> Result<Log, LogError> {
        let log = Log::at(dir);
        let disk = Disk::default();
        disk.make_dirs(&log.dir)?;
        // Whoever made the directory may have been stopped before that was durable. A parent that we may not read is not of our making.
        match log.dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent)) {
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(log),
            other => other.map(|()| log),
        }
    }

    /// A handle on the log in `dir`. Touches nothing; what is not there shows when it is used.
    #[must_use]
    pub fn at(dir: impl AsRef<Path>) -> Log {
        let dir = std::path::absolute(&dir).unwrap_or_else(|_| dir.as_ref().to_owned());
        let mut known = hold(&SHARED);
        known.retain(|(_, shared)| shared.strong_count() > 0);
        if let Some(shared) = known.iter().find(|(path, _)| *path == dir).and_then(|(_, shared)| shared.upgrade()) {
            return Log { dir, shared };
        }
        let shared = Arc::new(Shared::default());
        known.push((dir.clone(), Arc::downgrade(&shared)));
        Log { dir, shared }
    }

    /// The directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a topic. Names are letters, digits, `.`, `_`, `-`.
    ///
    /// # Errors
    /// [`LogError::TopicExists`], [`LogError::Invalid`], and what the disk says.
    pub fn create_topic(&self, name: &str, settings: Settings) -> Result<Topic, LogError> {
        Topics::of(&self.dir).create(&Disk::default(), name, settings)
    }

    /// A topic's id, writer and settings.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`], and damage to its settings.
    pub fn topic(&self, name: &str) -> Result<Topic, LogError> {
        Topics::of(&self.dir).load(name)
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// When the directory cannot be read, and damage to a topic's settings.
    pub fn topics(&self) -> Result<Vec<Topic>, LogError> {
        Topics::of(&self.dir).list()
    }

    /// Removes a topic with all its records. A topic made under the same name later is another one, with another id.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`]; [`LogError::Locked`] while its writer is open.
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        let topic = self.topic(name)?;
        let _lock = match &topic.writer {
            Some(writer) if self.writer_dir(writer).exists() => {
                Some(lock::Lock::take(&self.writer_dir(writer), writer)?)
            }
            _ => None,
        };
        Topics::of(&self.dir).delete(&Disk::default(), &topic)
    }

    /// Opens the writer `name` (topic names' letters and `@`), cutting off what its predecessor had not committed.
    ///
    /// # Errors
    /// [`LogError::Locked`] while it is open elsewhere, [`LogError::Corrupt`] where files are damaged, [`LogError::Invalid`] on a network
    /// file system, and what the disk says.
    pub fn writer(&self, name: &str) -> Result<Writer, LogError> {
        self.writer_with_clock(name, || SystemTime::now().into())
    }

    /// The same with a clock of one's own, which stamps batches and commits.
    ///
    /// # Errors
    /// As for [`Log::writer`].
    pub fn writer_with_clock(
        &self,
        name: &str,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Writer, LogError> {
        Writer::open(self, name, Box::new(clock), Disk::default())
    }

    /// The names of all writers that ever opened.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn writers(&self) -> Result<Vec<String>, LogError> {
        topic::names(&self.dir.join("writers"))
    }

    /// Forgets a writer that has no topics left: its commits and its lock.
    ///
    /// # Errors
    /// [`LogError::Invalid`] while a topic belongs to it, [`LogError::Locked`] while it is open.
    pub fn delete_writer(&self, name: &str) -> Result<(), LogError> {
        topic::check_name("writer", name, true)?;
        let dir = self.writer_dir(name);
        let _lock = lock::Lock::take(&dir, name)?;
        if let Some(topic) = self.topics()?.iter().find(|topic| topic.writer.as_deref() == Some(name)) {
            return Err(LogError::Invalid(format!("topic {} belongs to writer {name}; delete it first", topic.name)));
        }
        std::fs::remove_dir_all(&dir).map_err(LogError::io("remove", &dir))?;
        Disk::default().sync_dir(&self.dir.join("writers"))
    }

    /// The newest durable commit of a writer, which may be open in another process; `None` when it never committed.
    ///
    /// # Errors
    /// When the commit log cannot be read.
    pub fn last_commit(&self, writer: &str) -> Result<Option<Commit>, LogError> {
        topic::check_name("writer", writer, true)?;
        Ok(hold(&self.tail(writer)).refresh()?.commit.clone())
    }

    /// The kept offsets of each partition: from the oldest one to the durable end.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`], and damage to settings or the commit log.
    pub fn offsets(&self, topic: &str) -> Result<Vec<Range<u64>>, LogError> {
        let topic = self.topic(topic)?;
        let partitions = 0..topic.settings.partition_count();
        let Some(writer) = &topic.writer else { return Ok(partitions.map(|_| 0..0).collect()) };
        let tail = self.tail(writer);
        let mut tail = hold(&tail);
        let known = tail.refresh()?;
        let ends = |partition| known.ends.get(&(topic.id, partition)).copied().unwrap_or_default();
        Ok(partitions.map(|partition| ends(partition).start..ends(partition).end).collect())
    }

    /// For each partition, the offset before which [`Writer::retain`] may remove records within so long: by their age, or, of a topic that keeps
    /// so many bytes, once a tenth of them is written besides.
    ///
    /// # Errors
    /// When the topic or its commit log cannot be read.
    pub fn removed_within(&self, topic: &str, within: Duration) -> Result<Vec<u64>, LogError> {
        let topic = self.topic(topic)?;
        let Some(writer) = &topic.writer else { return Ok(Vec::new()) };
        let tail = self.tail(writer);
        let known = hold(&tail).refresh()?.ends.clone();
        let settings = topic
            .settings
            .kept_bytes()
            .map_or_else(|| topic.settings.clone(), |bytes| topic.settings.clone().keep_bytes(bytes - bytes / 10));
        let then = Timestamp::from(std::time::SystemTime::now()).saturating_add(within);
        let first = |partition: u32| {
            let ends = known.get(&(topic.id, partition)).copied().unwrap_or_default();
            retain::first_kept(&Topics::of(&self.dir).partition_dir(&topic.name, partition), ends, &settings, then)
        };
        (0..topic.settings.partition_count()).map(first).collect()
    }

    /// Reads a partition from `start`.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`], [`LogError::Expired`], [`LogError::BeyondEnd`], [`LogError::Invalid`] where there is no such partition.
    pub fn reader(&self, topic: &str, partition: u32, start: Start) -> Result<Reader, LogError> {
        Reader::open(self, topic, partition, start)
    }

    /// A number that rises with each commit to this log in this process: what [`Log::wait`] takes.
    #[must_use]
    pub fn commits_here(&self) -> u64 {
        *hold(&self.shared.commits)
    }

    /// Waits until [`Log::commits_here`] is beyond `seen`, at most `timeout`, and returns it. A reader's loop takes the number, reads to
    /// the end, then waits; commits of other processes it finds after the timeout.
    #[must_use]
    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let commits = hold(&self.shared.commits);
        let waited = self.shared.bell.wait_timeout_while(commits, timeout, |commits| *commits <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn ring(&self) {
        *hold(&self.shared.commits) += 1;
        self.shared.bell.notify_all();
    }

    fn writer_dir(&self, name: &str) -> PathBuf {
        self.dir.join("writers").join(name)
    }

    fn tail(&self, writer: &str) -> Arc<Mutex<Tail>> {
        let mut tails = hold(&self.shared.tails);
        if let Some(tail) = tails.get(writer).and_then(Weak::upgrade) {
            return tail;
        }
        let tail = Arc::new(Mutex::new(Tail::new(&self.writer_dir(writer))));
        tails.insert(writer.to_owned(), Arc::downgrade(&tail));
        tail
    }
}

/// Locks; what a panicking holder left is numbers and caches that every holder can go on with.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.dir).finish()
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod process_tests;
