//! A segment: a file of batches of one partition, named by the first offset it covers.
//!
//! Offsets from its name up to the next segment's name belong to it. Only the last segment of a partition grows; how far it is committed
//! is written in the commit log, never in the segment. Every other segment is complete.
//!
//! ```text
//!  0 magic "MPSEGMNT"   8 version 1   12 flags (1: compacted, 2: has tombstones)   16 topic id   24 partition   28 crc32 of bytes 0 to 28
//! 32 batches
//! ```

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::LogError;
use super::batch::{self, BatchHeader};
use super::bytes::{read_at, u32_at, u64_at};

pub(super) const HEADER: usize = 32;
const MAGIC: &[u8; 8] = b"MPSEGMNT";
const VERSION: u32 = 1;
const COMPACTED: u32 = 1;
const TOMBSTONES: u32 = 2;

/// Which partition of which topic a segment is part of, and whether compaction has been over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) topic: u64,
    pub(super) partition: u32,
    pub(super) compacted: bool,
    /// Whether compaction left tombstones in it.
    pub(super) tombstones: bool,
}

impl SegmentHeader {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let flags = if self.compacted { COMPACTED } else { 0 } | if self.tombstones { TOMBSTONES } else { 0 };
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.topic.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.partition.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of an open segment and checks that it is part of this partition.
    pub(super) fn read(file: &File, path: &Path, topic: u64, partition: u32) -> Result<SegmentHeader, LogError> {
        let mut bytes = [0; HEADER];
        let read = read_at(file, &mut bytes, 0).map_err(LogError::io("read", path))?;
        if read < HEADER || &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..28]) != u32_at(&bytes, 28) {
            return Err(LogError::corrupt(path, 0, "no segment header"));
        }
        let version = u32_at(&bytes, 8);
        if version > VERSION {
            return Err(LogError::Newer { file: path.to_owned(), version, known: VERSION });
        }
        if u64_at(&bytes, 16) != topic || u32_at(&bytes, 24) != partition {
            return Err(LogError::corrupt(path, 16, "the segment belongs to another topic or partition"));
        }
        let flags = u32_at(&bytes, 12);
        Ok(SegmentHeader { topic, partition, compacted: flags & COMPACTED != 0, tombstones: flags & TOMBSTONES != 0 })
    }
}

pub(super) fn path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

/// The first offsets of the segments in a partition's directory, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let mut bases = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bases),
        Err(error) => return Err(LogError::io("list", dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(LogError::io("list", dir))?.file_name();
        if let Some(base) = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|base| base.parse().ok())
        {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Steps over the batch headers between two positions, without reading what lies between them.
pub(super) fn scan<B>(
    file: &File,
    path: &Path,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<B>,
) -> Result<Option<B>, LogError> {
    let mut at = from;
    let window = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(64 << 10);
    let (mut window, mut start, mut filled) = (vec![0; window], from, 0_usize);
    let (mut least_base, mut hop) = (0, 0);
    while at < to {
        let inside = usize::try_from(at - start).unwrap_or(usize::MAX);
        if inside.saturating_add(batch::HEADER) > filled {
            // Where batches are large only their headers are wanted, where they are small many come with one read.
            let want = if hop < 16 << 10 { window.len() } else { 4 << 10 };
            let want = want.min(usize::try_from(to - at).unwrap_or(usize::MAX));
            filled = read_at(file, &mut window[..want], at).map_err(LogError::io("read", path))?;
            start = at;
        }
        let inside = (at - start) as usize;
        let header = BatchHeader::parse(&window[inside..filled]).map_err(|what| LogError::corrupt(path, at, what))?;
        if header.base < least_base {
            return Err(LogError::corrupt(path, at, "offsets go back"));
        }
        least_base = header.next();
        if header.len as u64 > to - at {
            return Err(LogError::corrupt(path, at, "a batch goes beyond the committed end"));
        }
        if let ControlFlow::Break(found) = visit(at, &header) {
            return Ok(Some(found));
        }
        hop = header.len;
        at += header.len as u64;
    }
    Ok(None)
}

/// Reads the batch at `position` whole and checks it.
pub(super) fn read_batch(file: &File, path: &Path, position: u64, len: usize) -> Result<Vec<u8>, LogError> {
    let mut bytes = vec![0; len];
    let read = read_at(file, &mut bytes, position).map_err(LogError::io("read", path))?;
    bytes.truncate(read);
    BatchHeader::verify(&bytes).map_err(|what| LogError::corrupt(path, position, what))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{Record, batch::BatchBuilder};
    use super::*;
    use millpond_state::Timestamp;

    #[test]
    fn a_scan_meets_every_batch_small_or_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 0);
        let mut bytes = SegmentHeader { topic: 1, partition: 0, compacted: false, tombstones: false }.encode().to_vec();
        let mut batch = BatchBuilder::default();
        let sizes: Vec<usize> = (0..500).map(|i| if i % 50 == 7 { 100_000 } else { 1 + i * 13 % 3_000 }).collect();
        for (offset, size) in sizes.iter().enumerate() {
            batch.begin(offset as u64, 0);
            batch.push(offset as u64, &Record::new(Timestamp::EPOCH, &vec![1; *size]));
            bytes.extend_from_slice(batch.seal(offset as u64 + 1));
        }
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut met = Vec::new();
        scan(&file, &path, HEADER as u64, bytes.len() as u64, |position, header| {
            assert_eq!(read_batch(&file, &path, position, header.len).unwrap().len(), header.len);
            met.push(header.base);
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
        assert_eq!(met, (0..500).collect::<Vec<u64>>());
        assert!(scan(&file, &path, HEADER as u64 + 1, 500, |_, _| ControlFlow::<()>::Continue(())).is_err());
    }

    #[test]
    fn a_header_tells_strangers_damage_and_newer_files_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 0);
        let header = SegmentHeader { topic: 1, partition: 2, compacted: true, tombstones: false };
        let read = |bytes: &[u8], topic| {
            fs::write(&path, bytes).unwrap();
            SegmentHeader::read(&File::open(&path).unwrap(), &path, topic, 2)
        };
        assert_eq!(read(&header.encode(), 1).unwrap(), header);
        assert!(matches!(read(&header.encode(), 9), Err(LogError::Corrupt { .. })));
        assert!(matches!(read(&header.encode()[..20], 1), Err(LogError::Corrupt { .. })));
        let mut newer = header.encode();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(read(&newer, 1), Err(LogError::Newer { version: 2, known: 1, .. })));
    }
}
