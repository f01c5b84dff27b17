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

/// One operator's changes: flat buffers, and where each entry lies in them.
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
    /// Several, since one that grows is copied whole each time: ten milliseconds where a million entries were written.
    blocks: Vec<Block>,
    dropped: Vec<Vec<u8>>,
}

/// So many bytes, and a last entry, go into a block.
const BLOCK: usize = 256 << 10;

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    entries: Vec<Place>,
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

    /// The block to be written on.
    #[inline]
    fn block(&mut self) -> &mut Block {
        if self.blocks.last().is_none_or(|block| block.bytes.len() >= BLOCK) {
            self.blocks.push(Block::default());
        }
        self.blocks.last_mut().expect("made just above where there was none")
    }

    /// Writes one entry: both closures append to one of the section's buffers.
    pub fn put(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let Block { bytes, entries } = self.block();
        let start = bytes.len();
        key(bytes);
        let key_end = bytes.len();
        value(bytes);
        let value = length(bytes.len() - key_end);
        entries.push(Place { start, key: length(key_end - start), value, group });
    }

    /// Deletes one entry.
    pub fn delete(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>)) {
        let Block { bytes, entries } = self.block();
        let start = bytes.len();
        key(bytes);
        entries.push(Place { start, key: length(bytes.len() - start), value: DELETED, group });
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
        self.blocks.iter().flat_map(|Block { bytes, entries }| {
            entries.iter().map(|place| {
                let key_end = place.start + place.key as usize;
                let value = (place.value != DELETED).then(|| &bytes[key_end..key_end + place.value as usize]);
                Entry { group: place.group, key: &bytes[place.start..key_end], value }
            })
        })
    }

    /// Whether there is nothing to persist.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.dropped.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes.len()).sum()
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).ok().filter(|&n| n != DELETED).expect("a key or value encodes to less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_over_many_blocks_and_large_ones_stay_whole() {
        let mut section = Section::new("blocks");
        let sizes = [1, 100, BLOCK - 1, BLOCK * 3, 0, 5, BLOCK];
        for (n, size) in (0u8..).zip(sizes.iter().cycle().copied().take(40)) {
            let put = |bytes: &mut Vec<u8>| bytes.extend(std::iter::repeat_n(n, size));
            if n % 3 == 0 {
                section.delete(KeyGroup::new(n.into()), put);
            } else {
                section.put(KeyGroup::new(n.into()), put, |value| value.push(n));
            }
        }
        assert!(section.blocks.len() > 10);
        let mut bytes = 0;
        for (n, (entry, size)) in (0u8..).zip(section.entries().zip(sizes.iter().cycle().copied())) {
            assert_eq!((entry.group.index(), entry.key.len()), (n.into(), size));
            assert!(entry.key.iter().all(|byte| *byte == n));
            assert_eq!(entry.value, (n % 3 != 0).then_some(&[n][..]));
            bytes += size + entry.value.map_or(0, <[u8]>::len);
        }
        assert_eq!((section.entries().count(), section.len_bytes()), (40, bytes));
    }
}
