//! A record, as it is appended and as it is read, and its bytes inside a batch.
//!
//! ```text
//! flags u8 | [gap] | time | [key length] | [value length] | [headers length] | key | value | headers
//! ```
//! Numbers are LEB128; `time` is the zigzag difference to the record before (to 0 for a batch's first), so that records in rough order
//! take a byte or two. `gap` counts the offsets skipped before this record, where compaction removed some. Headers are name length, name,
//! value length, value, one after another.

use millpond_state::Timestamp;

/// A record to append. Its offset and append time are the log's to give.
///
/// ```
/// use millpond_connectors::log::Record;
/// use millpond_state::Timestamp;
/// let record = Record::new(Timestamp::from_secs(1), b"hello").key(b"greeting");
/// assert_eq!(record.value, Some(&b"hello"[..]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it happened.
    pub event_time: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone, which deletes its key from a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Names and values of its headers.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Record<'a> {
    /// A value and when it happened, without key and headers.
    #[must_use]
    pub fn new(event_time: Timestamp, value: &'a [u8]) -> Self {
        Record { event_time, value: Some(value), ..Record::default() }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// With these headers.
    #[must_use]
    pub fn headers(mut self, headers: &'a [(&'a str, &'a [u8])]) -> Self {
        self.headers = headers;
        self
    }
}

/// A record as it lies in a [`Block`](super::Block): nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its number in its partition.
    pub offset: u64,
    /// When it happened.
    pub event_time: Timestamp,
    /// When the log took it, by the writer's clock.
    pub append_time: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in the order in which they were given.
    pub headers: Headers<'a>,
}

/// Headers of a record, read in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut at = 0;
        let mut part = || {
            let len = get(self.bytes, &mut at)?;
            take(self.bytes, &mut at, len)
        };
        let (Some(name), Some(value)) = (part(), part()) else { nonsense() };
        let Ok(name) = std::str::from_utf8(name) else { nonsense() };
        self.bytes = &self.bytes[at..];
        Some((name, value))
    }
}

const KEY: u8 = 1;
const VALUE: u8 = 2;
const HEADERS: u8 = 4;
const GAP: u8 = 8;

/// The most a record may take, so that a batch's length fits its field.
pub(super) const MOST: usize = 256 << 20;

/// Appends a record's bytes. `previous` is the event time of the record before it in the batch, 0 for the first.
#[inline]
pub(super) fn encode(into: &mut Vec<u8>, record: &Record<'_>, gap: u64, previous: i64) {
    let mut head = Head { bytes: [0; 48], len: 1 };
    let mut flags = 0;
    if gap != 0 {
        flags |= GAP;
        head.put(gap);
    }
    let delta = record.event_time.micros().wrapping_sub(previous);
    head.put(((delta << 1) ^ (delta >> 63)) as u64);
    if let Some(key) = record.key {
        flags |= KEY;
        head.put(key.len() as u64);
    }
    if let Some(value) = record.value {
        flags |= VALUE;
        head.put(value.len() as u64);
    }
    if !record.headers.is_empty() {
        flags |= HEADERS;
        head.put(record.headers.iter().map(|(name, value)| part_len(name.as_bytes()) + part_len(value)).sum::<usize>()
            as u64);
    }
    head.bytes[0] = flags;
    into.extend_from_slice(&head.bytes[..head.len]);
    into.extend_from_slice(record.key.unwrap_or_default());
    into.extend_from_slice(record.value.unwrap_or_default());
    for (name, value) in record.headers {
        for part in [name.as_bytes(), value] {
            let mut head = Head { bytes: [0; 48], len: 0 };
            head.put(part.len() as u64);
            into.extend_from_slice(&head.bytes[..head.len]);
            into.extend_from_slice(part);
        }
    }
}

/// An upper bound of what [`encode`] appends.
#[inline]
pub(super) fn weight(record: &Record<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    48 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

fn part_len(part: &[u8]) -> usize {
    (64 - (part.len() as u64 | 1).leading_zeros() as usize).div_ceil(7) + part.len()
}

/// A decoded record: how many offsets were skipped before it, its event time, and what it holds.
pub(super) struct Decoded<'a> {
    pub(super) gap: u64,
    pub(super) event_time: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

/// Reads the record at `at` and moves `at` behind it; `None` when the bytes make no record.
#[inline]
pub(super) fn decode<'a>(bytes: &'a [u8], at: &mut usize, previous: i64) -> Option<Decoded<'a>> {
    let flags = *bytes.get(*at)?;
    *at += 1;
    let gap = if flags & GAP == 0 { 0 } else { get(bytes, at)? };
    let delta = get(bytes, at)?;
    let event_time = previous.wrapping_add((delta >> 1) as i64 ^ -((delta & 1) as i64));
    let key_len = if flags & KEY == 0 { 0 } else { get(bytes, at)? };
    let value_len = if flags & VALUE == 0 { 0 } else { get(bytes, at)? };
    let headers_len = if flags & HEADERS == 0 { 0 } else { get(bytes, at)? };
    let key = take(bytes, at, key_len)?;
    let value = take(bytes, at, value_len)?;
    let headers = Headers { bytes: take(bytes, at, headers_len)? };
    let key = (flags & KEY != 0).then_some(key);
    let value = (flags & VALUE != 0).then_some(value);
    Some(Decoded { gap, event_time, key, value, headers })
}

/// Bytes whose checksum is right and that no release ever wrote.
#[cold]
pub(super) fn nonsense() -> ! {
    panic!("a batch of the log has the right checksum and holds no records; was it written by another program?")
}

struct Head {
    bytes: [u8; 48],
    len: usize,
}

impl Head {
    #[inline]
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes[self.len] = number as u8 | 0x80;
            self.len += 1;
            number >>= 7;
        }
        self.bytes[self.len] = number as u8;
        self.len += 1;
    }
}

#[inline]
fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut number = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[inline]
fn take<'a>(bytes: &'a [u8], at: &mut usize, len: u64) -> Option<&'a [u8]> {
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let part = bytes.get(*at..end)?;
    *at = end;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_written() {
        let long = vec![7_u8; 300];
        let headers: &[(&str, &[u8])] = &[("run", b"1"), ("", b""), ("long", &long)];
        let records = [
            (Record::default(), 0),
            (Record::new(Timestamp::MIN, b"a").key(b""), 3),
            (Record::new(Timestamp::MAX, &long).key(&long).headers(headers), 0),
            (Record { key: Some(b"gone"), ..Record::default() }, u64::MAX),
            (Record::new(Timestamp::from_micros(-1), b"").headers(&headers[..1]), 1),
        ];
        let (mut bytes, mut previous) = (Vec::new(), 0);
        for (record, gap) in &records {
            let before = bytes.len();
            encode(&mut bytes, record, *gap, previous);
            assert!(bytes.len() - before <= weight(record));
            previous = record.event_time.micros();
        }
        let (mut at, mut previous) = (0, 0);
        for (record, gap) in &records {
            let read = decode(&bytes, &mut at, previous).unwrap();
            previous = read.event_time;
            assert_eq!((read.gap, read.key, read.value), (*gap, record.key, record.value));
            assert_eq!(Timestamp::from_micros(read.event_time), record.event_time);
            assert_eq!(read.headers.collect::<Vec<_>>(), record.headers);
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn cut_bytes_make_no_record() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &Record::new(Timestamp::MAX, b"value").key(b"key").headers(&[("h", b"v")]), 9, 0);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], &mut 0, 0).is_none(), "{len} bytes");
        }
    }
}
