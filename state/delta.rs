//! What an operator hands over when an epoch closes: the entries it touched, encoded on the worker, written elsewhere.
//!
//! A [`Delta`] belongs to one worker and one epoch and has one [`Section`] an operator (uid). An entry is addressed by (key group,
//! key bytes). Dropped prefixes apply to everything *older* than the delta, its own entries come after them, so "this window has
//! fired" is one prefix instead of a deletion for each key.

use crate::KeyGroup;

/// One worker's changes of one epoch.
#[derive(Debug, Default)]
pub struct Delta {
    /// One section for each operator that changed anything.
    pub sections: Vec<Section>,
}

/// One operator's changes: a flat buffer, and where each entry lies in it.
///
/// ```
/// use millpond_state::{KeyGroup, Section};
/// let mut section = Section::new("views/window");
/// section.put(KeyGroup::new(3), |key| key.extend_from_slice(b"k"), |value| value.extend_from_slice(b"v"));
/// section.delete(KeyGroup::new(3), |key| key.extend_from_slice(b"gone"));
/// section.drop_prefix(b"window-1");
/// assert_eq!(section.entries().count(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Section {
    uid: String,
    bytes: Vec<u8>,
    entries: Vec<Place>,
    dropped: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    key: u32,
    /// Length of the value, or [`DELETED`].
    value: u32,
    group: KeyGroup,
}

const DELETED: u32 = u32::MAX;

/// One entry of a section. `value` is `None` for a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key group the key hashes to.
    pub group: KeyGroup,
    /// The encoded key, after whatever prefix the handle puts before it.
    pub key: &'a [u8],
    /// The encoded value, `None` when the entry was deleted.
    pub value: Option<&'a [u8]>,
}

impl Section {
    /// An empty section of the operator `uid`.
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Section { uid: uid.to_owned(), ..Section::default() }
    }

    /// The operator this belongs to.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Writes one entry: both closures append to the section's buffer.
    pub fn put(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let key_end = self.bytes.len();
        value(&mut self.bytes);
        let value = length(self.bytes.len() - key_end);
        self.entries.push(Place { start, key: length(key_end - start), value, group });
    }

    /// Deletes one entry.
    pub fn delete(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        self.entries.push(Place { start, key: length(self.bytes.len() - start), value: DELETED, group });
    }

    /// Deletes every older entry whose key begins with `prefix`, in all key groups the section's worker owns.
    pub fn drop_prefix(&mut self, prefix: &[u8]) {
        self.dropped.push(prefix.to_owned());
    }

    /// The prefixes dropped, in the order in which they were.
    pub fn dropped(&self) -> impl Iterator<Item = &[u8]> {
        self.dropped.iter().map(Vec::as_slice)
    }

    /// The entries in the order in which they were written; of two with one key the later counts.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().map(|place| {
            let key_end = place.start + place.key as usize;
            let value = (place.value != DELETED).then(|| &self.bytes[key_end..key_end + place.value as usize]);
            Entry { group: place.group, key: &self.bytes[place.start..key_end], value }
        })
    }

    /// Whether there is nothing to persist.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).ok().filter(|&n| n != DELETED).expect("a key or value encodes to less than 4 GiB")
}
