//! What can go wrong with a log, told apart by what the caller would do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log did not do what was asked. The message names the file, topic or offset and the way out.
///
/// ```
/// use millpond_connectors::log::{Log, LogError};
/// let dir = std::env::temp_dir().join("millpond-doc-error");
/// assert!(matches!(Log::at(&dir).topic("no-such-topic"), Err(LogError::NoSuchTopic { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The writer of this name is open in another place. Stop that one, or wait for it.
    #[error("writer {writer} is open in process {pid}, which holds {}; stop that one first", file.display())]
    Locked {
        /// Name of the writer.
        writer: String,
        /// Process id of the holder, as it wrote it into the lock file.
        pid: String,
        /// The lock file.
        file: PathBuf,
    },
    /// The topic belongs to a writer of another name. A topic has one writer for its whole life.
    #[error(
        "topic {topic} belongs to writer {owner}, so that {writer} cannot write it; use another topic name, or delete the topic"
    )]
    OwnedByOther {
        /// The topic.
        topic: String,
        /// The writer that claimed it first.
        owner: String,
        /// The writer that wanted it.
        writer: String,
    },
    /// There is no topic of this name.
    #[error("there is no topic {topic} in {}; create it first", dir.display())]
    NoSuchTopic {
        /// The topic.
        topic: String,
        /// The log's directory.
        dir: PathBuf,
    },
    /// A topic of this name is there already.
    #[error("topic {topic} exists in {}", dir.display())]
    TopicExists {
        /// The topic.
        topic: String,
        /// The log's directory.
        dir: PathBuf,
    },
    /// Retention has removed the records asked for.
    #[error(
        "offset {offset} of {topic}/{partition} is gone, retention keeps offsets from {earliest}; start at {earliest} or earliest"
    )]
    Expired {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: u64,
        /// The oldest offset that is kept.
        earliest: u64,
    },
    /// The records asked for have not been written.
    #[error(
        "offset {offset} of {topic}/{partition} lies beyond its end {end}; is this the log that the offset was read from?"
    )]
    BeyondEnd {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: u64,
        /// The durable end: the offset that the next record will have.
        end: u64,
    },
    /// A file does not hold what was written to it. Nothing is guessed.
    #[error("{} is damaged at byte {offset}: {what}; restore the log's directory from a copy, or delete it and compute it again", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// An earlier write or sync of this writer failed, so that nobody knows what is on the disk.
    #[error("the log's writer stopped after an error ({cause}); open it again, which goes back to the last commit")]
    Poisoned {
        /// The error it stopped at.
        cause: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was written by a newer release.
    #[error("{} has format version {version}, this program knows {known}; use the newer release", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// The request makes no sense, whatever the log holds.
    #[error("{0}")]
    Invalid(String),
}

impl LogError {
    pub(super) fn io(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { doing, file: file.to_owned(), source }
    }

    pub(super) fn corrupt(file: &Path, offset: u64, what: &'static str) -> LogError {
        LogError::Corrupt { file: file.to_owned(), offset, what }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
