//! Keys that were taken out of a table since the last snapshot and stand in an older one.

use serde::Serialize;

use crate::{KeyGroup, Section, encode_into};

/// Encoded keys, one after the other: the key itself went to whoever removed it.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    bytes: Vec<u8>,
    places: Vec<(KeyGroup, usize)>,
}

impl Deleted {
    /// Notes a key that an older snapshot has.
    pub(super) fn note<K: Serialize>(&mut self, prefix: &[u8], hash: u64, key: &K) {
        self.bytes.extend_from_slice(prefix);
        encode_into(key, &mut self.bytes).expect("a key in an older snapshot was encoded once before");
        self.places.push((KeyGroup::of(hash), self.bytes.len()));
    }

    /// Writes the deletions and forgets them.
    pub(super) fn write(&mut self, section: &mut Section) {
        let mut start = 0;
        for (group, end) in self.places.drain(..) {
            section.delete(group, |key| key.extend_from_slice(&self.bytes[start..end]));
            start = end;
        }
        self.bytes.clear();
    }

    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<(KeyGroup, usize)>()
    }
}
