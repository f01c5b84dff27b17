//! The writer's side of its commit log: read it once, then add one record after another, each durable before it is published.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::LogError;
use super::commits::{self, RECORDS, Record, SLOT, Snapshot};
use super::disk::{Disk, Handle, aside};

/// A file longer than this is begun anew with all ends in its first record.
const LONGEST: u64 = 4 << 20;

/// What was found in a commit log.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the last record made real.
    pub(super) last: Snapshot,
    /// What was real before it, when the last record is not the file's first.
    pub(super) before: Option<Snapshot>,
    /// The last record, which changed `before` into `last`.
    change: Option<Record>,
    /// Whether a reader may have seen the last record.
    published: bool,
}

/// The commit log, open for adding.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    handle: Handle,
    position: u64,
    longest: u64,
    pub(super) last: Snapshot,
}

impl Found {
    /// Reads the commit log in `dir`; a torn last record is left out, damage anywhere else is an error.
    pub(super) fn read(dir: &Path) -> Result<Found, LogError> {
        let path = dir.join(commits::FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found { published: true, ..Found::default() });
            }
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        let file = fs::File::open(&path).map_err(LogError::io("open", &path))?;
        commits::read_header(&file, &path)?;
        if bytes.len() <= RECORDS as usize {
            return Err(LogError::corrupt(&path, bytes.len() as u64, "commit records are missing"));
        }
        let published = commits::read_slot(&file, &path)?;
        let mut found = Found { published: true, ..Found::default() };
        let mut at = RECORDS as usize;
        while at < bytes.len() {
            let Some((record, len)) = Record::parse(&bytes[at..]) else { break };
            if at == RECORDS as usize {
                found.last.apply(record);
            } else if record.sequence == found.last.sequence + 1 {
                found.before = Some(found.last.clone());
                found.change = Some(record.clone());
                found.last.apply(record);
            } else {
                return Err(LogError::corrupt(&path, at as u64, "a commit record does not follow the one before"));
            }
            at += len;
        }
        let known = if at == RECORDS as usize { None } else { Some(found.last.sequence) };
        if known.is_none_or(|known| published > known) || commits::newer_record_in(&bytes[at..], found.last.sequence) {
            return Err(LogError::corrupt(&path, at as u64, "a commit record does not match its checksum"));
        }
        found.published = found.change.is_none() || published >= found.last.sequence;
        Ok(found)
    }

    /// Forgets the ends of topics that are not there any more.
    pub(super) fn keep(&mut self, known: impl Fn(u64) -> bool) {
        for snapshot in self.before.iter_mut().chain([&mut self.last]) {
            snapshot.ends.retain(|(topic, _), _| known(*topic));
        }
    }
}

impl Journal {
    /// Begins a new file with what was found. What only the page cache may hold becomes durable here, and visible after that.
    pub(super) fn begin(disk: &Disk, dir: &Path, found: Found) -> Result<Journal, LogError> {
        let (first, change) = match (found.published, found.before, found.change) {
            (false, Some(before), Some(change)) => (before, Some(change)),
            _ => (found.last, None),
        };
        let mut journal = Journal::rewrite(disk, dir, first, change.as_ref())?;
        if let Some(change) = change {
            journal.publish(disk, change.sequence)?;
            journal.last.apply(change);
        }
        Ok(journal)
    }

    fn rewrite(disk: &Disk, dir: &Path, first: Snapshot, change: Option<&Record>) -> Result<Journal, LogError> {
        let path = dir.join(commits::FILE);
        let mut bytes = commits::file_header(first.sequence);
        bytes.extend(first.record().encode());
        bytes.extend(change.map(Record::encode).unwrap_or_default());
        let handle = disk.create(&aside(&path))?;
        disk.write_at(&handle, &bytes, 0)?;
        disk.sync(&handle)?;
        disk.rename(&aside(&path), &path)?;
        disk.sync_dir(dir)?;
        let handle = Handle { file: handle.file, path: path.clone() };
        let position = bytes.len() as u64;
        Ok(Journal { path, handle, position, longest: LONGEST.max(4 * position), last: first })
    }

    /// Makes `record` durable, then visible.
    pub(super) fn append(&mut self, disk: &Disk, record: Record) -> Result<(), LogError> {
        if self.position > self.longest {
            let dir = self.path.parent().expect("made by joining").to_owned();
            *self = Journal::rewrite(disk, &dir, self.last.clone(), None)?;
        }
        let bytes = record.encode();
        disk.write_at(&self.handle, &bytes, self.position)?;
        disk.sync(&self.handle)?;
        self.publish(disk, record.sequence)?;
        self.position += bytes.len() as u64;
        self.last.apply(record);
        Ok(())
    }

    fn publish(&self, disk: &Disk, sequence: u64) -> Result<(), LogError> {
        disk.write_at(&self.handle, &commits::slot(sequence), SLOT)
    }
}
