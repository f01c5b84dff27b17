//! Rows as they are sorted: flat bytes and fixed entries, ordered by event time, key and value.

use std::cmp::Ordering;

use millpond_state::Timestamp;

const NONE: u32 = u32::MAX;
/// Event time, length of the key, length of the value.
const HEADER: usize = 16;

/// A row: what is compared of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) at: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl Row<'_> {
    /// By what says that two rows are the same one: event time and key.
    pub(super) fn place(&self, other: &Row<'_>) -> Ordering {
        self.at.cmp(&other.at).then_with(|| self.key.cmp(&other.key))
    }

    pub(super) fn order(&self, other: &Row<'_>) -> Ordering {
        self.place(other).then_with(|| self.value.cmp(&other.value))
    }
}

/// Rows in memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    /// The key's first bytes, so that most comparisons need no look at the bytes.
    prefix: u64,
    start: usize,
    key: u32,
    value: u32,
}

fn prefix(key: Option<&[u8]>) -> u64 {
    let Some(key) = key else { return 0 };
    let mut first = [0; 8];
    let len = key.len().min(8);
    first[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(first)
}

impl Rows {
    pub(super) fn push(&mut self, row: Row<'_>) {
        let len = |part: Option<&[u8]>| part.map_or(NONE, |part| part.len() as u32);
        let (start, key, value) = (self.bytes.len(), len(row.key), len(row.value));
        self.bytes.extend_from_slice(row.key.unwrap_or_default());
        self.bytes.extend_from_slice(row.value.unwrap_or_default());
        self.entries.push(Entry { at: row.at, prefix: prefix(row.key), start, key, value });
    }

    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(super) fn get(&self, index: usize) -> Row<'_> {
        read(&self.bytes, &self.entries[index])
    }

    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let order = |a: &Entry, b: &Entry| {
            // No key comes before every key, and an empty prefix may be either.
            let first = a.at.cmp(&b.at).then(a.prefix.cmp(&b.prefix));
            first.then_with(|| read(bytes, a).order(&read(bytes, b)))
        };
        self.entries.sort_unstable_by(order);
    }
}

fn read<'a>(bytes: &'a [u8], entry: &Entry) -> Row<'a> {
    let part = |start: usize, len: u32| (len != NONE).then(|| &bytes[start..start + len as usize]);
    let middle = entry.start + if entry.key == NONE { 0 } else { entry.key as usize };
    Row { at: entry.at, key: part(entry.start, entry.key), value: part(middle, entry.value) }
}

/// Appends a row's bytes as runs hold them.
pub(super) fn encode(row: Row<'_>, into: &mut Vec<u8>) {
    let len = |part: Option<&[u8]>| part.map_or(NONE, |part| part.len() as u32);
    into.extend_from_slice(&row.at.micros().to_le_bytes());
    into.extend_from_slice(&len(row.key).to_le_bytes());
    into.extend_from_slice(&len(row.value).to_le_bytes());
    into.extend_from_slice(row.key.unwrap_or_default());
    into.extend_from_slice(row.value.unwrap_or_default());
}

/// The row at the start of `bytes` and its length; `None` where they do not hold all of it, with how many it has.
pub(super) fn decode(bytes: &[u8]) -> Result<(Row<'_>, usize), usize> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Err(HEADER) };
    let [a, b, c, d, e, f, g, h, lens @ ..] = *header;
    let [k0, k1, k2, k3, v0, v1, v2, v3] = lens;
    let (key, value) = (u32::from_le_bytes([k0, k1, k2, k3]), u32::from_le_bytes([v0, v1, v2, v3]));
    let size = |len: u32| if len == NONE { 0 } else { len as usize };
    let len = HEADER + size(key) + size(value);
    if bytes.len() < len {
        return Err(len);
    }
    let (key_bytes, rest) = rest.split_at(size(key));
    let at = Timestamp::from_micros(i64::from_le_bytes([a, b, c, d, e, f, g, h]));
    let row = Row { at, key: (key != NONE).then_some(key_bytes), value: (value != NONE).then(|| &rest[..size(value)]) };
    Ok((row, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(at: i64, key: Option<&'a str>, value: Option<&'a str>) -> Row<'a> {
        Row { at: Timestamp::from_secs(at), key: key.map(str::as_bytes), value: value.map(str::as_bytes) }
    }

    #[test]
    fn rows_sort_by_time_key_and_value_and_read_back() {
        let rows = [
            row(2, Some("a"), Some("x")),
            row(1, Some("abcdefghj"), Some("x")),
            row(1, Some("abcdefghi"), Some("y")),
            row(1, Some("abcdefghi"), Some("x")),
            row(1, Some(""), None),
            row(1, None, Some("z")),
        ];
        let mut sorted = Rows::default();
        rows.iter().for_each(|row| sorted.push(*row));
        sorted.sort();
        let found: Vec<_> = (0..sorted.len()).map(|index| sorted.get(index)).collect();
        assert_eq!(found, rows.iter().rev().copied().collect::<Vec<_>>());
        for row in rows {
            let mut bytes = Vec::new();
            encode(row, &mut bytes);
            assert_eq!(decode(&bytes), Ok((row, bytes.len())));
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err_and(|len| len <= bytes.len() && len > cut));
            }
        }
    }
}
