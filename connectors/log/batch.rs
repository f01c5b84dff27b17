//! A batch: records of one partition under one checksum, the unit in which segments are written and read.
//!
//! ```text
//!  0 magic "MPB1"   4 crc32 of what follows   8 length of the whole batch   12 records
//! 16 base offset   24 offsets covered   28 zero   32 append time   40 least event time   48 greatest event time
//! 56 records
//! ```
//! All little endian. A batch covers the offsets from its base; compaction may have left fewer records than offsets.

use super::bytes::{i64_at, u32_at, u64_at};
use super::record::{self, Record};

pub(super) const HEADER: usize = 56;
const MAGIC: &[u8; 4] = b"MPB1";

/// What stands before a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Bytes of the whole batch.
    pub(super) len: usize,
    pub(super) count: u32,
    pub(super) base: u64,
    /// Offsets covered.
    pub(super) span: u32,
    pub(super) append_time: i64,
    pub(super) least: i64,
    pub(super) greatest: i64,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which need not hold the whole batch. Its checksum is not looked at.
    pub(super) fn parse(bytes: &[u8]) -> Result<BatchHeader, &'static str> {
        let header = bytes.get(..HEADER).ok_or("a batch header is cut short")?;
        if &header[..4] != MAGIC {
            return Err("no batch begins here");
        }
        let parsed = BatchHeader {
            len: u32_at(header, 8) as usize,
            count: u32_at(header, 12),
            base: u64_at(header, 16),
            span: u32_at(header, 24),
            append_time: i64_at(header, 32),
            least: i64_at(header, 40),
            greatest: i64_at(header, 48),
        };
        if parsed.len <= HEADER
            || parsed.count == 0
            || parsed.span < parsed.count
            || parsed.base.checked_add(parsed.span.into()).is_none()
        {
            return Err("a batch header makes no sense");
        }
        Ok(parsed)
    }

    /// Reads and checks the batch that is exactly `bytes`.
    pub(super) fn verify(bytes: &[u8]) -> Result<BatchHeader, &'static str> {
        let header = BatchHeader::parse(bytes)?;
        if header.len != bytes.len() {
            return Err("a batch is cut short");
        }
        if crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4) {
            return Err("a batch does not match its checksum");
        }
        Ok(header)
    }

    /// The offset after the last one covered.
    pub(super) fn next(&self) -> u64 {
        self.base + u64::from(self.span)
    }
}

/// Builds one batch after another in the same memory.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    base: u64,
    next: u64,
    previous: i64,
    append_time: i64,
    least: i64,
    greatest: i64,
}

impl BatchBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn append_time(&self) -> i64 {
        self.append_time
    }

    /// Begins a batch at offset `base`.
    pub(super) fn begin(&mut self, base: u64, append_time: i64) {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        self.count = 0;
        (self.base, self.next) = (base, base);
        self.previous = 0;
        self.append_time = append_time;
        (self.least, self.greatest) = (i64::MAX, i64::MIN);
    }

    /// Adds a record at `offset`, which is beyond those before it.
    #[inline]
    pub(super) fn push(&mut self, offset: u64, record: &Record<'_>) {
        record::encode(&mut self.bytes, record, offset - self.next, self.previous);
        self.next = offset + 1;
        self.count += 1;
        let at = record.event_time.micros();
        self.previous = at;
        self.least = self.least.min(at);
        self.greatest = self.greatest.max(at);
    }

    /// The finished batch, covering offsets up to `end`.
    pub(super) fn seal(&mut self, end: u64) -> &[u8] {
        let span = u32::try_from(end - self.base).expect("a batch is written out long before 4 billion records");
        let len = u32::try_from(self.bytes.len()).expect("a batch is written out long before 4 GiB");
        self.bytes[..4].copy_from_slice(MAGIC);
        self.bytes[8..12].copy_from_slice(&len.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&span.to_le_bytes());
        self.bytes[32..40].copy_from_slice(&self.append_time.to_le_bytes());
        self.bytes[40..48].copy_from_slice(&self.least.to_le_bytes());
        self.bytes[48..56].copy_from_slice(&self.greatest.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    /// Forgets the batch, keeps the memory unless a giant record made it large.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
        self.bytes.shrink_to(4 * super::partition::BATCH);
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::Timestamp;

    use super::super::block::{Cursor, Records};
    use super::*;

    fn sample() -> Vec<u8> {
        let mut batch = BatchBuilder::default();
        batch.begin(10, 77);
        for (offset, at) in [(10, 5), (11, -3), (14, 9)] {
            batch.push(offset, &Record::new(Timestamp::from_micros(at), b"v"));
        }
        batch.seal(16).to_vec()
    }

    #[test]
    fn a_batch_reads_back_with_its_gaps_and_times() {
        let bytes = sample();
        let header = BatchHeader::verify(&bytes).unwrap();
        assert_eq!((header.base, header.next(), header.count), (10, 16, 3));
        assert_eq!((header.least, header.greatest, header.append_time), (-3, 9, 77));
        let all = Records::new(&bytes, Cursor::default(), 11);
        assert_eq!(all.map(|r| (r.offset, r.event_time.micros())).collect::<Vec<_>>(), [(11, -3), (14, 9)]);
        let mut some = all;
        some.next();
        let rest = Records::new(&bytes, some.cursor(), 0);
        assert_eq!(rest.map(|r| r.offset).collect::<Vec<_>>(), [14]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchHeader::verify(&bad).is_err(), "bit {bit}");
        }
    }
}
