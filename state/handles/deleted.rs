//! Keys that were taken out of a table since the last snapshot and stand in an older one.

use serde::Serialize;

use crate::{KeyGroup, Section, encode_into};

/// Encoded keys, one after the other: the key itself went to whoever removed it.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    bytes: Vec<u8>,
    places: Vec<(KeyGroup, usize)>,
    /// How many of them have been written.
    written: usize,
}

impl Deleted {
    /// Notes a key that an older snapshot has.
    pub(super) fn note<K: Serialize>(&mut self, prefix: &[u8], hash: u64, key: &K) {
        self.bytes.extend_from_slice(prefix);
        encode_into(key, &mut self.bytes).expect("a key in an older snapshot was encoded once before");
        self.places.push((KeyGroup::of(hash), self.bytes.len()));
    }

    /// Writes up to `most` deletions; forgets them, and says so, when those were all.
    pub(super) fn write(&mut self, most: &mut usize, section: &mut Section) -> bool {
        let mut start = self.written.checked_sub(1).map_or(0, |last| self.places[last].1);
        for &(group, end) in self.places[self.written..].iter().take(*most) {
            section.delete(group, |key| key.extend_from_slice(&self.bytes[start..end]));
            start = end;
            self.written += 1;
            *most -= 1;
        }
        let all = self.written == self.places.len();
        if all {
            self.places.clear();
            self.bytes.clear();
            self.written = 0;
        }
        all
    }

    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<(KeyGroup, usize)>()
    }
}
