//! The commit log's bytes: what one record says, and what a file of them adds up to.
//!
//! A writer's `commits.log` decides what is real. Each record carries the ends of the partitions it changed and the caller's payload; the
//! first record of a file carries the ends of all of them.
//!
//! ```text
//! file     0 magic "MPCOMMIT"   8 version 1   12 zero   16 boot id (16 bytes)   32 crc32 of bytes 0 to 32
//!        512 published: sequence   520 crc32 of the sequence's 8 bytes
//!       1024 records
//! record   0 magic "MPC1"   4 crc32 of what follows   8 length of the record   12 flags (1: all partitions, 2: has a commit)
//!         16 sequence   24 epoch   32 clock   40 entries   44 payload's length   48 entries, then the payload
//! entry    0 topic id   8 partition   12 zero   16 start   24 end   32 segment   40 position
//! ```
//! `published` is written once the record of that sequence is durable: what stands behind it may be in the page cache alone, and readers
//! must not see what a loss of power could take back. In a file of an earlier boot everything was read from the disk, so all of it counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use millpond_state::Timestamp;

use super::LogError;
use super::bytes::{i64_at, read_at, u32_at, u64_at};

pub(super) const FILE: &str = "commits.log";
pub(super) const RECORDS: u64 = 1024;
pub(super) const SLOT: u64 = 512;
const MAGIC: &[u8; 8] = b"MPCOMMIT";
const RECORD_MAGIC: &[u8; 4] = b"MPC1";
const VERSION: u32 = 1;
const HEADER: usize = 48;
const ENTRY: usize = 48;
const ALL: u32 = 1;
const COMMIT: u32 = 2;

/// The last thing that a writer made real: [`Writer::commit`](super::Writer::commit)'s arguments, and when that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The epoch.
    pub epoch: u64,
    /// What the caller wanted kept with it.
    pub payload: Vec<u8>,
    /// The writer's clock.
    pub clock: Timestamp,
}

/// What of a partition is real.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// The least offset that retention keeps.
    pub(super) start: u64,
    /// The offset that the next record will have.
    pub(super) end: u64,
    /// The segment that grows, by its first offset.
    pub(super) segment: u64,
    /// The committed bytes of that segment; 0 while there is no segment at all.
    pub(super) position: u64,
}

/// Topic id and partition.
pub(super) type Place = (u64, u32);

/// What all commits up to one add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) sequence: u64,
    pub(super) ends: BTreeMap<Place, Ends>,
    pub(super) commit: Option<Commit>,
}

/// One record of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    all: bool,
    pub(super) sequence: u64,
    entries: Vec<(Place, Ends)>,
    commit: Option<Commit>,
}

impl Snapshot {
    /// The record that says all of this at once.
    pub(super) fn record(&self) -> Record {
        let entries = self.ends.iter().map(|(place, ends)| (*place, *ends)).collect();
        Record { all: true, sequence: self.sequence, entries, commit: self.commit.clone() }
    }

    /// The record that changes these ends and nothing else, or makes a commit as well.
    pub(super) fn change(&self, entries: Vec<(Place, Ends)>, commit: Option<Commit>) -> Record {
        Record { all: false, sequence: self.sequence + 1, entries, commit: commit.or_else(|| self.commit.clone()) }
    }

    /// Takes a record in. A first record says all, the others follow one another.
    pub(super) fn apply(&mut self, record: Record) {
        if record.all {
            self.ends.clear();
        }
        self.sequence = record.sequence;
        self.ends.extend(record.entries);
        self.commit = record.commit;
    }
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let no_commit = Commit { epoch: 0, payload: Vec::new(), clock: Timestamp::EPOCH };
        let commit = self.commit.as_ref().unwrap_or(&no_commit);
        let len = HEADER + self.entries.len() * ENTRY + commit.payload.len();
        let flags = if self.all { ALL } else { 0 } | if self.commit.is_some() { COMMIT } else { 0 };
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(RECORD_MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        for number in [len as u32, flags] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.sequence, commit.epoch, commit.clock.micros().cast_unsigned()] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.entries.len() as u32, commit.payload.len() as u32] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for ((topic, partition), ends) in &self.entries {
            for number in [*topic, u64::from(*partition), ends.start, ends.end, ends.segment, ends.position] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&commit.payload);
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The record at the start of `bytes` and its length, or `None` where no whole one stands.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Record, usize)> {
        if bytes.len() < HEADER || &bytes[..4] != RECORD_MAGIC {
            return None;
        }
        let len = u32_at(bytes, 8) as usize;
        let (count, payload) = (u32_at(bytes, 40) as usize, u32_at(bytes, 44) as usize);
        if len > bytes.len() || count.checked_mul(ENTRY)?.checked_add(payload)?.checked_add(HEADER)? != len {
            return None;
        }
        let bytes = &bytes[..len];
        if crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4) {
            return None;
        }
        let (entries, payload) = bytes[HEADER..].split_at(count * ENTRY);
        let entries = entries.chunks_exact(ENTRY).map(|e| {
            let ends =
                Ends { start: u64_at(e, 16), end: u64_at(e, 24), segment: u64_at(e, 32), position: u64_at(e, 40) };
            ((u64_at(e, 0), u32_at(e, 8)), ends)
        });
        let flags = u32_at(bytes, 12);
        let commit = Commit {
            epoch: u64_at(bytes, 24),
            clock: Timestamp::from_micros(i64_at(bytes, 32)),
            payload: payload.to_vec(),
        };
        let record = Record {
            all: flags & ALL != 0,
            sequence: u64_at(bytes, 16),
            entries: entries.collect(),
            commit: (flags & COMMIT != 0).then_some(commit),
        };
        Some((record, len))
    }
}

/// What stands before the records of a new file.
pub(super) fn file_header(published: u64) -> Vec<u8> {
    let mut bytes = vec![0; RECORDS as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&boot_id());
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes[SLOT as usize..SLOT as usize + 12].copy_from_slice(&slot(published));
    bytes
}

/// The bytes of `published`.
pub(super) fn slot(sequence: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks the header of a commit log. Says whether it was written since this machine was started.
pub(super) fn read_header(file: &File, path: &Path) -> Result<bool, LogError> {
    let mut bytes = [0; 36];
    let read = read_at(file, &mut bytes, 0).map_err(LogError::io("read", path))?;
    if read < bytes.len() || &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..32]) != u32_at(&bytes, 32) {
        return Err(LogError::corrupt(path, 0, "no commit log header"));
    }
    let version = u32_at(&bytes, 8);
    if version > VERSION {
        return Err(LogError::Newer { file: path.to_owned(), version, known: VERSION });
    }
    Ok(bytes[16..32] == boot_id())
}

/// The sequence of the newest record that is known to be durable; 0 where the slot cannot be read, which only hides records for a while.
pub(super) fn read_slot(file: &File, path: &Path) -> Result<u64, LogError> {
    let mut bytes = [0; 12];
    let read = read_at(file, &mut bytes, SLOT).map_err(LogError::io("read", path))?;
    let sequence = u64_at(&bytes, 0);
    Ok(if read == bytes.len() && slot(sequence) == bytes { sequence } else { 0 })
}

/// Whether a whole record newer than `sequence` stands anywhere in `bytes`: then what was before it is damage and not the torn end.
pub(super) fn newer_record_in(bytes: &[u8], sequence: u64) -> bool {
    bytes.windows(4).enumerate().any(|(at, four)| {
        four == RECORD_MAGIC && Record::parse(&bytes[at..]).is_some_and(|(record, _)| record.sequence > sequence)
    })
}

/// Drawn by the kernel at each start of the machine; zero where it does not say, which trusts `published` alone.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_any_flipped_bit_is_noticed() {
        let mut snapshot = Snapshot::default();
        let ends = Ends { start: 1, end: 9, segment: 3, position: 4_000 };
        let commit = Commit { epoch: 7, payload: b"offsets".to_vec(), clock: Timestamp::from_micros(-5) };
        let record = snapshot.change(vec![((1, 0), ends), ((2, 5), Ends::default())], Some(commit.clone()));
        let bytes = record.encode();
        assert_eq!(Record::parse(&bytes), Some((record.clone(), bytes.len())));
        snapshot.apply(record);
        assert_eq!((snapshot.sequence, &snapshot.commit), (1, &Some(commit)));
        assert_eq!(Record::parse(&snapshot.record().encode()).unwrap().0, snapshot.record());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(&bad), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..len]), None, "{len} bytes");
        }
    }
}
