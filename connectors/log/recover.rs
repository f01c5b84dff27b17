//! What a writer does to its partitions before anything else: cut them back to the last commit, and write that commit's data once more.
//!
//! After a failed sync the page cache may show bytes that never reached the disk, and nothing says so a second time. So the bytes of the
//! last commit are read, checked, written again to the same places, which makes the pages dirty again, and synced. A crash in the middle
//! does no harm, since old and new bytes are the same. The commit log, which is what decides, is written to a new file instead.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::LogError;
use super::commits::Ends;
use super::disk::{ASIDE, Disk, Handle};
use super::index;
use super::partition::Partition;
use super::segment::{self, SegmentHeader};

/// Brings a partition's files to what `partition.ends` says. `before` is what was real before the last commit.
pub(super) fn recover(disk: &Disk, partition: &Partition, before: Ends) -> Result<(), LogError> {
    let (dir, ends) = (&partition.dir, partition.ends);
    remove_leftovers(disk, dir)?;
    let bases = segment::list(dir)?;
    for base in bases.iter().filter(|base| ends.position == 0 || **base > ends.segment) {
        disk.remove(&segment::path(dir, *base))?;
    }
    if ends.position == 0 {
        return Ok(());
    }
    partition.remove_expired(disk)?;
    let path = segment::path(dir, ends.segment);
    let (handle, _) = open(disk, &path, partition)?;
    let len = handle.file.metadata().map_err(LogError::io("read", &path))?.len();
    if len < ends.position {
        return Err(LogError::corrupt(&path, len, "committed records are missing"));
    }
    if len > ends.position {
        disk.cut(&handle, ends.position)?;
    }
    if index_exists(&path) {
        disk.remove(&index::beside(&path))?;
    }
    if (before.segment, before.position) == (ends.segment, ends.position) {
        return Ok(());
    }
    rewrite(disk, partition, before, &bases)
}

/// Writes again what the last commit added.
fn rewrite(disk: &Disk, partition: &Partition, before: Ends, bases: &[u64]) -> Result<(), LogError> {
    let ends = partition.ends;
    for base in bases.iter().copied().filter(|base| (before.segment..=ends.segment).contains(base)) {
        let path = segment::path(&partition.dir, base);
        let (handle, header) = open(disk, &path, partition)?;
        // Compaction synced it as a whole, after the commit.
        if header.compacted {
            continue;
        }
        let to = if base == ends.segment {
            ends.position
        } else {
            handle.file.metadata().map_err(LogError::io("read", &path))?.len()
        };
        let from =
            if base == before.segment { before.position.max(segment::HEADER as u64) } else { segment::HEADER as u64 };
        let mut spans = Vec::new();
        segment::scan(&handle.file, &path, from, to, |position, header| {
            spans.push((position, header.len));
            ControlFlow::<()>::Continue(())
        })?;
        for (position, len) in spans {
            let bytes = segment::read_batch(&handle.file, &path, position, len)?;
            disk.write_at(&handle, &bytes, position)?;
        }
        if from == segment::HEADER as u64 {
            disk.write_at(&handle, &header.encode(), 0)?;
        }
        disk.sync(&handle)?;
    }
    disk.sync_dir(&partition.dir)
}

fn open(disk: &Disk, path: &Path, partition: &Partition) -> Result<(Handle, SegmentHeader), LogError> {
    let handle = match disk.open(path) {
        Err(error) if error.is_missing() => return Err(LogError::corrupt(path, 0, "the file is missing")),
        other => other?,
    };
    let header = SegmentHeader::read(&handle.file, path, partition.place.0, partition.place.1)?;
    Ok((handle, header))
}

/// Files that were being written aside.
fn remove_leftovers(disk: &Disk, dir: &Path) -> Result<(), LogError> {
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        if path.to_string_lossy().ends_with(ASIDE) {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

fn index_exists(segment: &Path) -> bool {
    fs::exists(index::beside(segment)).unwrap_or(false)
}
