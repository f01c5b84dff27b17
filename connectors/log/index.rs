//! The sparse index beside a complete segment: where to begin looking for an offset or a time.
//!
//! It is made by stepping over the segment's batch headers, never synced, and made again where it is missing or does not fit its segment.
//! The segment that still grows has none; there a search steps over the headers themselves.
//!
//! ```text
//!  0 magic "MPTIMEIX"   8 version 1   12 entries   16 segment's length   24 greatest event time   32 greatest append time
//! 40 entries of 24 bytes: position, offset, greatest event time of all batches before      last 4: crc32 of all before
//! ```

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::LogError;
use super::bytes::{i64_at, u32_at, u64_at};
use super::disk::Disk;
use super::segment;

const MAGIC: &[u8; 8] = b"MPTIMEIX";
const VERSION: u32 = 1;
const HEADER: usize = 40;
const ENTRY: usize = 24;
/// Bytes of segment between two entries.
const SPACING: u64 = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    position: u64,
    offset: u64,
    greatest_before: i64,
}

/// What is known of a complete segment without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    segment_len: u64,
    pub(super) greatest_event: i64,
    pub(super) greatest_append: i64,
    entries: Vec<Entry>,
}

impl Index {
    /// The index of the complete segment at `path`, from its file if that fits.
    pub(super) fn of(file: &File, path: &Path) -> Result<Index, LogError> {
        let len = file.metadata().map_err(LogError::io("read", path))?.len();
        match Index::load(path, len) {
            Some(index) => Ok(index),
            None => Index::build(file, path, len),
        }
    }

    fn load(segment: &Path, len: u64) -> Option<Index> {
        let bytes = fs::read(beside(segment)).ok()?;
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if body.len() < HEADER
            || &body[..8] != MAGIC
            || u32_at(body, 8) != VERSION
            || crc32fast::hash(body) != u32_at(crc, 0)
        {
            return None;
        }
        let entries = body[HEADER..].chunks_exact(ENTRY);
        let entries =
            entries.map(|e| Entry { position: u64_at(e, 0), offset: u64_at(e, 8), greatest_before: i64_at(e, 16) });
        let index = Index {
            segment_len: u64_at(body, 16),
            greatest_event: i64_at(body, 24),
            greatest_append: i64_at(body, 32),
            entries: entries.collect(),
        };
        (index.segment_len == len).then_some(index)
    }

    fn build(file: &File, path: &Path, len: u64) -> Result<Index, LogError> {
        let mut index =
            Index { segment_len: len, greatest_event: i64::MIN, greatest_append: i64::MIN, entries: Vec::new() };
        let mut next = segment::HEADER as u64 + SPACING;
        segment::scan(file, path, segment::HEADER as u64, len, |position, header| {
            if position >= next {
                index.entries.push(Entry { position, offset: header.base, greatest_before: index.greatest_event });
                next = position + SPACING;
            }
            index.greatest_event = index.greatest_event.max(header.greatest);
            index.greatest_append = index.greatest_append.max(header.append_time);
            ControlFlow::<()>::Continue(())
        })?;
        Ok(index)
    }

    /// Writes the index of the complete segment at `path` beside it.
    pub(super) fn write(disk: &Disk, path: &Path) -> Result<(), LogError> {
        let file = File::open(path).map_err(LogError::io("open", path))?;
        let len = file.metadata().map_err(LogError::io("read", path))?.len();
        let index = Index::build(&file, path, len)?;
        let handle = disk.create(&beside(path))?;
        disk.write_at(&handle, &index.encode(), 0)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.segment_len.to_le_bytes());
        bytes.extend_from_slice(&self.greatest_event.to_le_bytes());
        bytes.extend_from_slice(&self.greatest_append.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(&entry.greatest_before.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Where stepping over headers finds the batch of `offset`.
    pub(super) fn before_offset(&self, offset: u64) -> u64 {
        self.before(|entry| entry.offset <= offset)
    }

    /// Where stepping over headers finds the first batch with an event time of at least `time`.
    pub(super) fn before_time(&self, time: i64) -> u64 {
        self.before(|entry| entry.greatest_before < time)
    }

    fn before(&self, reached: impl FnMut(&Entry) -> bool) -> u64 {
        let count = self.entries.partition_point(reached);
        count.checked_sub(1).map_or(segment::HEADER as u64, |last| self.entries[last].position)
    }
}

/// The index file of a segment.
pub(super) fn beside(segment: &Path) -> PathBuf {
    segment.with_extension("time")
}

#[cfg(test)]
mod tests {
    use super::super::{Record, batch::BatchBuilder};
    use super::*;
    use millpond_state::Timestamp;

    #[test]
    fn an_index_survives_its_file_and_does_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = segment::path(dir.path(), 0);
        let mut bytes =
            segment::SegmentHeader { topic: 1, partition: 0, compacted: false, tombstones: false }.encode().to_vec();
        let mut batch = BatchBuilder::default();
        for offset in 0..40_u64 {
            batch.begin(offset, 0);
            batch.push(offset, &Record::new(Timestamp::from_micros((offset * 10).cast_signed()), &vec![0; 50_000]));
            bytes.extend_from_slice(batch.seal(offset + 1));
        }
        fs::write(&path, &bytes).unwrap();
        Index::write(&Disk::default(), &path).unwrap();
        let file = File::open(&path).unwrap();
        let index = Index::of(&file, &path).unwrap();
        assert!(index.entries.len() > 3);
        assert_eq!(index, Index::build(&file, &path, bytes.len() as u64).unwrap());
        assert_eq!(index.before_offset(0), segment::HEADER as u64);
        for entry in &index.entries {
            assert_eq!(index.before_offset(entry.offset), entry.position);
            assert!(index.before_offset(entry.offset - 1) < entry.position);
            assert_eq!(index.before_time(entry.greatest_before + 1), entry.position);
            assert!(index.before_time(entry.greatest_before) < entry.position);
        }
        let mut damaged = fs::read(beside(&path)).unwrap();
        damaged[50] ^= 1;
        fs::write(beside(&path), &damaged).unwrap();
        assert_eq!(Index::of(&file, &path).unwrap(), index);
    }
}
