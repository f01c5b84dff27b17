//! What a reader hands out: verified batches in one piece of memory, and the records in them, read in place.

use millpond_state::Timestamp;

use super::batch::{BatchHeader, HEADER};
use super::record::{self, RecordRef};

/// Whole batches of one partition, verified. Records are read in place; the block may go to another thread.
#[derive(Debug)]
pub struct Block {
    pub(super) bytes: Vec<u8>,
    /// The first offset that was asked for.
    pub(super) from: u64,
    pub(super) next: u64,
}

impl Block {
    /// The records, by offset.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        self.resume(Cursor::default())
    }

    /// The records after a place that [`Records::cursor`] gave, for callers that cannot keep the borrow.
    ///
    /// # Panics
    /// While reading, when the cursor is of another block.
    #[must_use]
    pub fn resume(&self, cursor: Cursor) -> Records<'_> {
        Records::new(&self.bytes, cursor, self.from)
    }

    /// The offset to go on from after this block.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// How many bytes of the log it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// A place between two records of a verified run of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    at: usize,
    /// Records left in the batch at `at`; 0 at the start of a batch.
    left: u32,
    next: u64,
    event_time: i64,
    append_time: i64,
}

/// Records of a [`Block`](super::Block), one after another, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    cursor: Cursor,
    from: u64,
}

impl<'a> Records<'a> {
    /// Over `bytes`, whole batches that were verified, from offset `from`.
    pub(super) fn new(bytes: &'a [u8], cursor: Cursor, from: u64) -> Self {
        Records { bytes, cursor, from }
    }

    /// Where this stands: [`Block::resume`](super::Block::resume) goes on from there.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        let cursor = &mut self.cursor;
        loop {
            if cursor.left == 0 {
                if cursor.at >= self.bytes.len() {
                    return None;
                }
                let Ok(header) = BatchHeader::parse(&self.bytes[cursor.at..]) else { record::nonsense() };
                cursor.at += HEADER;
                *cursor = Cursor {
                    at: cursor.at,
                    left: header.count,
                    next: header.base,
                    event_time: 0,
                    append_time: header.append_time,
                };
            }
            let Some(read) = record::decode(self.bytes, &mut cursor.at, cursor.event_time) else { record::nonsense() };
            let offset = cursor.next + read.gap;
            cursor.left -= 1;
            cursor.next = offset + 1;
            cursor.event_time = read.event_time;
            if offset >= self.from {
                return Some(RecordRef {
                    offset,
                    event_time: Timestamp::from_micros(read.event_time),
                    append_time: Timestamp::from_micros(cursor.append_time),
                    key: read.key,
                    value: read.value,
                    headers: read.headers,
                });
            }
        }
    }
}
