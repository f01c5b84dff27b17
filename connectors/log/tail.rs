//! The readers' side of a commit log: follows what another thread or process adds, up to what is durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::bytes::read_at;
use super::commits::{self, Ends, Place, RECORDS, Record, Snapshot};

/// Follows one writer's commit log. Shared by all readers of that writer's topics in a process.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
    seen: Snapshot,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whether the file was written since this machine was started.
    this_boot: bool,
    /// Where the next record begins.
    position: u64,
}

impl Tail {
    pub(super) fn new(writer_dir: &Path) -> Self {
        Tail { path: writer_dir.join(commits::FILE), open: None, seen: Snapshot::default() }
    }

    /// Reads what became durable since the last call, and returns what all of it adds up to. Costs two system calls when nothing did.
    pub(super) fn refresh(&mut self) -> Result<&Snapshot, LogError> {
        loop {
            if self.open.is_none() {
                let file = match File::open(&self.path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(&self.seen),
                    Err(error) => return Err(LogError::io("open", &self.path)(error)),
                };
                let this_boot = commits::read_header(&file, &self.path)?;
                self.open = Some(Open { file, this_boot, position: RECORDS });
            }
            let Some(open) = &mut self.open else { continue };
            // Looked at before the records: a file replaced after this is followed at the next call, one replaced before is complete.
            let metadata = open.file.metadata().map_err(LogError::io("read", &self.path))?;
            open.read(&self.path, metadata.len(), &mut self.seen)?;
            if metadata.nlink() > 0 {
                return Ok(&self.seen);
            }
            self.open = None;
        }
    }

    pub(super) fn ends(&mut self, place: Place) -> Result<Ends, LogError> {
        Ok(self.refresh()?.ends.get(&place).copied().unwrap_or_default())
    }
}

impl Open {
    fn read(&mut self, path: &Path, len: u64, seen: &mut Snapshot) -> Result<(), LogError> {
        // A file's first record was durable before the file got its name.
        let first = self.position == RECORDS;
        let published = commits::read_slot(&self.file, path)?;
        if !first && self.this_boot && published <= seen.sequence || self.position >= len && !self.this_boot {
            return Ok(());
        }
        // The slot may have been written since the length was looked at, the records before it likewise.
        let len = self.file.metadata().map_err(LogError::io("read", path))?.len().max(len);
        if len < self.position {
            return Err(LogError::corrupt(path, len, "commit records are missing"));
        }
        let mut bytes = vec![0; usize::try_from(len - self.position).unwrap_or(usize::MAX)];
        let filled = read_at(&self.file, &mut bytes, self.position).map_err(LogError::io("read", path))?;
        let mut first = first;
        let mut rest = &bytes[..filled];
        while let Some((record, len)) = Record::parse(rest) {
            if self.this_boot && !first && record.sequence > published {
                return Ok(());
            }
            seen.apply(record);
            rest = &rest[len..];
            self.position += len as u64;
            first = false;
        }
        if first || published > seen.sequence || commits::newer_record_in(rest, seen.sequence) {
            return Err(LogError::corrupt(path, self.position, "a commit record does not match its checksum"));
        }
        Ok(())
    }
}
