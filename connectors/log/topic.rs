//! A topic: partitions under a name, with settings in `topics/<name>/topic.json`.
//!
//! The settings name the topic's only writer once one has claimed it, and an id drawn when it was made, so that a topic made again under
//! the same name is told from the one before.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LogError;
use super::disk::{ASIDE, Disk};

const FORMAT: u32 = 1;
const FILE: &str = "topic.json";

/// How a new topic is to be: partitions, segments, retention, compaction.
///
/// ```
/// use std::time::Duration;
/// use millpond_connectors::log::Settings;
/// let kept_for_a_week = Settings::partitions(3).keep_for(Duration::from_secs(7 * 86_400));
/// let newest_per_key = Settings::partitions(3).compacted();
/// # let _ = (kept_for_a_week, newest_per_key);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    partitions: u32,
    segment_bytes: u64,
    keep_bytes: Option<u64>,
    keep_micros: Option<i64>,
    compacted: bool,
}

impl Settings {
    /// So many partitions, numbered from 0; segments of 128 MiB; everything is kept.
    #[must_use]
    pub fn partitions(partitions: u32) -> Self {
        Settings { partitions, segment_bytes: 128 << 20, keep_bytes: None, keep_micros: None, compacted: false }
    }

    /// Old segments of a partition go when the ones after them hold this many bytes.
    #[must_use]
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Segments go when all they hold was appended longer ago than this. Event times do not count.
    #[must_use]
    pub fn keep_for(mut self, age: Duration) -> Self {
        self.keep_micros = Some(millpond_state::span_micros(age));
        self
    }

    /// An upsert topic: compaction keeps the newest record of each key. Every record must have a key.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.compacted = true;
        self
    }

    /// A segment is complete once it has this many bytes; retention and compaction work on complete ones.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How many partitions.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.partitions
    }

    /// Whether this is an upsert topic.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.compacted
    }

    /// How many bytes of complete segments retention leaves in a partition.
    #[must_use]
    pub fn kept_bytes(&self) -> Option<u64> {
        self.keep_bytes
    }

    /// For how many microseconds after its append a record is kept at least.
    #[must_use]
    pub fn kept_micros(&self) -> Option<i64> {
        self.keep_micros
    }

    pub(super) fn segment_size(&self) -> u64 {
        self.segment_bytes
    }
}

/// A topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Drawn at random when it was made: another topic of the same name has another one.
    pub id: u64,
    /// The only writer that may write it, once there is one.
    pub writer: Option<String>,
    /// How it was made.
    pub settings: Settings,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    id: String,
    writer: Option<String>,
    settings: Settings,
    checksum: String,
}

/// Only the version, which a newer release still writes.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Topic {
    fn encode(&self) -> Vec<u8> {
        let checksum = self.checksum();
        let on_disk = OnDisk {
            format: FORMAT,
            id: format!("{:016x}", self.id),
            writer: self.writer.clone(),
            settings: self.settings.clone(),
            checksum,
        };
        let mut json = serde_json::to_vec_pretty(&on_disk).expect("strings and numbers are always JSON");
        json.push(b'\n');
        json
    }

    fn checksum(&self) -> String {
        let content =
            serde_json::to_vec(&(self.id, &self.writer, &self.settings)).expect("strings and numbers are always JSON");
        format!("{:08x}", crc32fast::hash(&content))
    }

    fn decode(name: &str, path: &Path, json: &[u8]) -> Result<Topic, LogError> {
        let damaged = |_| LogError::corrupt(path, 0, "no topic settings");
        let FormatOnly { format: version } = serde_json::from_slice(json).map_err(damaged)?;
        if version > FORMAT {
            return Err(LogError::Newer { file: path.to_owned(), version, known: FORMAT });
        }
        let on_disk: OnDisk = serde_json::from_slice(json).map_err(damaged)?;
        let id = u64::from_str_radix(&on_disk.id, 16).map_err(|_| LogError::corrupt(path, 0, "no topic id"))?;
        let topic = Topic { name: name.to_owned(), id, writer: on_disk.writer, settings: on_disk.settings };
        if topic.checksum() != on_disk.checksum {
            return Err(LogError::corrupt(path, 0, "the settings do not match their checksum"));
        }
        Ok(topic)
    }
}

/// The topics of a log directory.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    dir: PathBuf,
}

impl Topics {
    pub(super) fn of(log: &Path) -> Self {
        Topics { dir: log.join("topics") }
    }

    pub(super) fn partition_dir(&self, topic: &str, partition: u32) -> PathBuf {
        self.dir.join(topic).join(partition.to_string())
    }

    fn log(&self) -> &Path {
        self.dir.parent().expect("made by joining")
    }

    /// Held for a moment by whoever makes, claims or deletes a topic.
    fn lock(&self, disk: &Disk) -> Result<File, LogError> {
        disk.make_dirs(&self.dir)?;
        let path = self.log().join("lock");
        let file = File::options().create(true).append(true).open(&path).map_err(LogError::io("open", &path))?;
        file.lock().map_err(LogError::io("lock", &path))?;
        Ok(file)
    }

    pub(super) fn load(&self, name: &str) -> Result<Topic, LogError> {
        check_name("topic", name, false)?;
        let path = self.dir.join(name).join(FILE);
        let mut read = fs::read(&path);
        let missing = |read: &io::Result<_>| matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound);
        if missing(&read) && self.dir.join(name).exists() {
            // Topics come and go as whole directories, so that one without settings is damaged, unless it came just now. Taken for no
            // topic, its ends would be forgotten, and its records cut off with them.
            read = fs::read(&path);
            if missing(&read) && self.dir.join(name).exists() {
                return Err(LogError::corrupt(&path, 0, "the topic's settings are missing"));
            }
        }
        match read {
            Ok(json) => Topic::decode(name, &path, &json),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LogError::NoSuchTopic { topic: name.to_owned(), dir: self.log().to_owned() })
            }
            Err(error) => Err(LogError::io("read", &path)(error)),
        }
    }

    /// All topics, by name.
    pub(super) fn list(&self) -> Result<Vec<Topic>, LogError> {
        let mut topics = Vec::new();
        for name in names(&self.dir)? {
            match self.load(&name) {
                Ok(topic) => topics.push(topic),
                Err(LogError::NoSuchTopic { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    pub(super) fn create(&self, disk: &Disk, name: &str, settings: Settings) -> Result<Topic, LogError> {
        check_name("topic", name, false)?;
        if settings.partitions == 0 || settings.segment_bytes == 0 {
            return Err(LogError::Invalid(format!(
                "topic {name} needs a partition at least, and segments of a byte at least"
            )));
        }
        let _lock = self.lock(disk)?;
        let target = self.dir.join(name);
        if target.exists() {
            return Err(LogError::TopicExists { topic: name.to_owned(), dir: self.log().to_owned() });
        }
        self.remove_leftovers()?;
        let topic = Topic { name: name.to_owned(), id: random(), writer: None, settings };
        // Made whole under a name that is never read, then renamed: a topic is there with all its parts or not at all.
        let making = self.dir.join(format!("{ASIDE}-{:016x}", topic.id));
        disk.make_dir(&making)?;
        for partition in 0..topic.settings.partitions {
            disk.make_dir(&making.join(partition.to_string()))?;
        }
        disk.replace(&making.join(FILE), &topic.encode())?;
        disk.rename(&making, &target)?;
        disk.sync_dir(&self.dir)?;
        Ok(topic)
    }

    /// Removes what was being made or deleted when its process ended; whoever does either holds the lock.
    fn remove_leftovers(&self) -> Result<(), LogError> {
        for entry in fs::read_dir(&self.dir).map_err(LogError::io("list", &self.dir))? {
            let entry = entry.map_err(LogError::io("list", &self.dir))?;
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                fs::remove_dir_all(entry.path()).map_err(LogError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Makes `writer` the topic's writer, unless it has another one.
    pub(super) fn claim(&self, disk: &Disk, name: &str, writer: &str) -> Result<Topic, LogError> {
        let _lock = self.lock(disk)?;
        let mut topic = self.load(name)?;
        match &topic.writer {
            Some(owner) if owner == writer => {}
            Some(owner) => {
                return Err(LogError::OwnedByOther {
                    topic: name.to_owned(),
                    owner: owner.clone(),
                    writer: writer.to_owned(),
                });
            }
            None => {
                topic.writer = Some(writer.to_owned());
                disk.replace(&self.dir.join(name).join(FILE), &topic.encode())?;
            }
        }
        self.settle(disk, name)?;
        Ok(topic)
    }

    /// Makes durable that the topic is there. Whoever made or claimed it may have been stopped just before doing so.
    pub(super) fn settle(&self, disk: &Disk, name: &str) -> Result<(), LogError> {
        disk.sync_dir(&self.dir.join(name))?;
        disk.sync_dir(&self.dir)?;
        disk.sync_dir(self.log())
    }

    /// Removes a topic. The caller has made sure that nobody writes it.
    pub(super) fn delete(&self, disk: &Disk, topic: &Topic) -> Result<(), LogError> {
        let _lock = self.lock(disk)?;
        let gone = self.dir.join(format!("{ASIDE}-{:016x}-deleted", topic.id));
        disk.rename(&self.dir.join(&topic.name), &gone)?;
        disk.sync_dir(&self.dir)?;
        fs::remove_dir_all(&gone).map_err(LogError::io("remove", &gone))
    }
}

/// Names of the directories in `dir` that are topics or writers, ascending.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, LogError> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(LogError::io("list", dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(LogError::io("list", dir))?.file_name();
        names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort_unstable();
    Ok(names)
}

/// Letters, digits, `.`, `_`, `-` (and `@` for writers), not beginning with a dot: a name is a directory.
pub(super) fn check_name(what: &str, name: &str, at_sign: bool) -> Result<(), LogError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || (at_sign && c == '@');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fits) {
        let also = if at_sign { ", @" } else { "" };
        return Err(LogError::Invalid(format!(
            "{name:?} cannot name a {what}: use up to 200 letters, digits, ., _, -{also}, no . first"
        )));
    }
    Ok(())
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
