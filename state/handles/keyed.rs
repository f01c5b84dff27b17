//! One value a key.

use std::borrow::Borrow;

use super::deleted::Deleted;
use super::table::Table;
use super::{Handle, stored_key, untagged};
use crate::{CodecError, Data, Key, KeyGroup, Section, decode};

/// One value for each key, kept until it is removed.
///
/// ```
/// use millpond_state::{Keyed, stable_hash};
/// let mut totals = Keyed::<String, u64>::new(0);
/// let lga = stable_hash("LGA");
/// totals.upsert(lga, "LGA".to_owned(), || 0, |total| *total += 5);
/// assert_eq!(totals.get(lga, "LGA"), Some(&5));
/// assert_eq!(totals.remove(lga, "LGA"), Some(5));
/// ```
#[derive(Debug)]
pub struct Keyed<K, V> {
    tag: u8,
    table: Table<K, V>,
    deleted: Deleted,
}

impl<K: Key, V: Data> Keyed<K, V> {
    /// An empty handle whose entries begin with `tag`.
    #[must_use]
    pub fn new(tag: u8) -> Self {
        Keyed { tag, table: Table::default(), deleted: Deleted::default() }
    }

    /// Updates the value of `key`, which `init` makes first where there is none.
    #[inline]
    pub fn upsert<R>(&mut self, hash: u64, key: K, init: impl FnOnce() -> V, update: impl FnOnce(&mut V) -> R) -> R {
        self.table.upsert(hash, key, init, update)
    }

    /// The value of `key`.
    #[inline]
    #[must_use]
    pub fn get<Q: Eq + ?Sized>(&self, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.table.get(hash, key)
    }

    /// The value of `key`, which counts as touched in this epoch.
    #[inline]
    pub fn get_mut<Q: Eq + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.table.get_mut(hash, key)
    }

    /// Takes the value of `key` out.
    pub fn remove<Q: Eq + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let row = self.table.remove(hash, key)?;
        if row.is_persisted() {
            self.deleted.note(&[self.tag], row.hash(), &row.key);
        }
        Some(row.value)
    }

    /// All keys with their hashes and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u64, &V)> {
        self.table.iter().map(|row| (&row.key, row.hash(), &row.value))
    }

    /// Calls `each` once for every key that was made or touched in this epoch and is still there, in no order: for about `most` of
    /// them. Says whether those were all; otherwise it is called again and goes on, and until it is done nothing else may change the
    /// handle.
    pub fn for_each_touched(&mut self, most: usize, mut each: impl FnMut(&K, u64, &V)) -> bool {
        self.table.for_each_touched(most, |row| each(&row.key, row.hash(), &row.value))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the table, without what keys and values own elsewhere.
    #[must_use]
    pub fn approx_bytes(&self) -> usize {
        self.table.allocated() + self.deleted.allocated()
    }
}

impl<K: Key, V: Data> Handle for Keyed<K, V> {
    fn tag(&self) -> u8 {
        self.tag
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        // First, since a key may have been removed and made again.
        Ok(self.deleted.write(most, section) && self.table.snapshot(&[self.tag], most, section)?)
    }

    fn restore_entry(&mut self, group: KeyGroup, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let (hash, key) = stored_key(group, untagged(self.tag, key)?)?;
        self.table.restore(hash, key, decode(value)?);
        Ok(())
    }
}
