//! Key groups: the fixed unit in which keyed state is owned, stored and moved between workers.

use serde::{Deserialize, Serialize};

/// One of [`KeyGroup::COUNT`] groups. A key belongs to the group its stable hash names, for ever; groups map to workers.
///
/// ```
/// use millpond_state::KeyGroup;
/// let group = KeyGroup::of(0x1234_5678_9abc_def0);
/// assert!(group.index() < KeyGroup::COUNT);
/// assert!(group.worker(3) < 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(u16);

impl KeyGroup {
    /// How many groups there are. Part of every checkpoint's format.
    pub const COUNT: usize = 1024;

    /// The group with this index.
    ///
    /// # Panics
    /// When `index` is not below [`KeyGroup::COUNT`].
    #[must_use]
    pub const fn new(index: u16) -> Self {
        assert!((index as usize) < Self::COUNT, "a key group is below 1024");
        KeyGroup(index)
    }

    /// The group of a key's stable hash: bits 32 to 41, so that neither the low bits (a table's bucket) nor the top seven (its
    /// tag) are the same for all keys of one worker.
    #[inline]
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        KeyGroup(((hash >> 32) & (Self::COUNT as u64 - 1)) as u16)
    }

    /// Its number, from 0.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Which of `workers` owns it: contiguous ranges, as even as they can be.
    #[inline]
    #[must_use]
    pub const fn worker(self, workers: usize) -> usize {
        self.0 as usize * workers / Self::COUNT
    }

    /// All groups, in order.
    pub fn all() -> impl Iterator<Item = KeyGroup> {
        (0..Self::COUNT as u16).map(KeyGroup)
    }
}
