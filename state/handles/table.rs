//! A hash table that knows which of its rows changed since the last snapshot: what `Keyed` and a window of `Panes` stand on.
//!
//! A row's mark says whether it changed. So that a snapshot of a large table need not look at all of it, the numbers of the
//! buckets with marked rows are listed as well, until they are so many that going through the table is cheaper, or until the table
//! is rearranged: that costs as much as going through it once, so a snapshot that does is in the noise. (Measured: keeping a list
//! costs 4 ns a first touch; a list for each key group twice that.)

use std::borrow::Borrow;
use std::cell::Cell;
use std::convert::Infallible;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::hash::SPARE_BITS;
use crate::{CodecError, Data, Key, KeyGroup, Section, encode_into};

/// A row's mark, in the bits of the hash that no hash uses.
const MARK: u64 = SPARE_BITS;
/// Not in any snapshot. Zero, so that a fresh row's word is its hash.
const NEW: u64 = 0;
/// In an older snapshot, as it is.
const KEPT: u64 = 1 << 42;
/// In an older snapshot, with another value.
const CHANGED: u64 = 2 << 42;

#[derive(Debug)]
pub(super) struct Row<K, V> {
    word: u64,
    pub(super) key: K,
    pub(super) value: V,
}

impl<K, V> Row<K, V> {
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.word & !MARK
    }

    #[inline]
    fn mark(&self) -> u64 {
        self.word & MARK
    }

    #[inline]
    fn set_mark(&mut self, mark: u64) {
        self.word = self.word & !MARK | mark;
    }

    /// Whether an older snapshot has this key.
    #[inline]
    pub(super) fn is_persisted(&self) -> bool {
        self.mark() != NEW
    }
}

#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: HashTable<Row<K, V>>,
    /// Buckets of rows marked new or changed; some may hold another row by now, or none.
    buckets: Vec<u32>,
    /// Whether `buckets` has them all. Otherwise they can be anywhere.
    listed: bool,
    /// Whether a bucket may stand in the list twice.
    repeats: bool,
    /// Where going through what changed goes on: a place in the list, or a bucket.
    cursor: usize,
}

/// How many buckets that need not be written take as long to look at as it takes to write one row.
const LOOKS: usize = 16;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { rows: HashTable::new(), buckets: Vec::new(), listed: false, repeats: false, cursor: 0 }
    }
}

impl<K: Key, V: Data> Table<K, V> {
    /// Updates the value of `key`, made by `init` where there is none.
    #[inline]
    pub(super) fn upsert<R>(
        &mut self,
        hash: u64,
        key: K,
        init: impl FnOnce() -> V,
        update: impl FnOnce(&mut V) -> R,
    ) -> R {
        let hash = hash & !MARK;
        // Looked for first, and made only then: most rows are there, and the shorter the way to one is, the more of them the processor
        // fetches at a time.
        let Some(row) = self.rows.find_mut(hash, |row| row.key == key) else {
            return self.insert(hash, key, init, update);
        };
        let result = update(&mut row.value);
        if row.mark() == KEPT {
            row.set_mark(CHANGED);
            self.touch_key(hash, &key);
        }
        result
    }

    #[inline(never)]
    fn insert<R>(&mut self, hash: u64, key: K, init: impl FnOnce() -> V, update: impl FnOnce(&mut V) -> R) -> R {
        let moved = Cell::new(false);
        let rehash = |row: &Row<K, V>| {
            moved.set(true);
            row.hash()
        };
        let mut value = init();
        let result = update(&mut value);
        let bucket = self.rows.insert_unique(hash, Row { word: hash | NEW, key, value }, rehash).bucket_index();
        self.listed &= !moved.get();
        self.touch(bucket);
        result
    }

    #[inline(never)]
    fn touch_key(&mut self, hash: u64, key: &K) {
        let bucket = self.rows.find_bucket_index(hash, |row| row.key == *key).expect("it was just there");
        self.touch(bucket);
    }

    #[inline]
    fn touch(&mut self, bucket: usize) {
        if self.listed {
            self.list(bucket);
        }
    }

    fn list(&mut self, bucket: usize) {
        // From about a fifth of the buckets on, going through the table is cheaper.
        match u32::try_from(bucket) {
            Ok(bucket) if self.buckets.len() <= self.rows.num_buckets() / 5 => self.buckets.push(bucket),
            _ => self.listed = false,
        }
    }

    #[inline]
    pub(super) fn get<Q: Eq + ?Sized>(&self, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.find(hash & !MARK, |row| row.key.borrow() == key).map(|row| &row.value)
    }

    /// The value, which counts as changed from now on.
    #[inline]
    pub(super) fn get_mut<Q: Eq + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let bucket = self.rows.find_bucket_index(hash & !MARK, |row| row.key.borrow() == key)?;
        if self.rows.get_bucket(bucket)?.mark() == KEPT {
            self.touch(bucket);
        }
        let row = self.rows.get_bucket_mut(bucket)?;
        if row.mark() == KEPT {
            row.set_mark(CHANGED);
        }
        Some(&mut row.value)
    }

    pub(super) fn remove<Q: Eq + ?Sized>(&mut self, hash: u64, key: &Q) -> Option<Row<K, V>>
    where
        K: Borrow<Q>,
    {
        let (row, _) = self.rows.find_entry(hash & !MARK, |row| row.key.borrow() == key).ok()?.remove();
        self.repeats |= row.mark() != KEPT;
        Some(row)
    }

    /// Puts a row back as an older snapshot has it.
    pub(super) fn restore(&mut self, hash: u64, key: K, value: V) {
        if self.rows.is_empty() {
            self.listed = true;
        }
        match self.rows.entry(hash & !MARK, |row| row.key == key, Row::hash) {
            Entry::Occupied(mut entry) => entry.get_mut().value = value,
            Entry::Vacant(entry) => {
                entry.insert(Row { word: hash & !MARK | KEPT, key, value });
            }
        }
    }

    /// Writes about `most` of the rows that changed, each key after `prefix`; they count as kept from then on. Whether those were all.
    pub(super) fn snapshot(
        &mut self,
        prefix: &[u8],
        most: &mut usize,
        section: &mut Section,
    ) -> Result<bool, CodecError> {
        let all = self.go_on(most, |row| {
            row.set_mark(KEPT);
            put(section, prefix, row)
        })?;
        if all {
            self.buckets.clear();
            self.listed = true;
            self.repeats = false;
        }
        Ok(all)
    }

    /// Calls `each` once for about `most` of the rows that a snapshot would write. Whether those were all.
    pub(super) fn for_each_touched(&mut self, mut most: usize, mut each: impl FnMut(&Row<K, V>)) -> bool {
        if self.repeats {
            self.buckets.sort_unstable();
            self.buckets.dedup();
            self.repeats = false;
        }
        let all: Result<bool, Infallible> = self.go_on(&mut most, |row| {
            each(row);
            Ok(())
        });
        match all {
            Ok(all) => all,
        }
    }

    /// Goes on through the rows that are marked; whether it came to the end, and so begins anew when it is called again.
    fn go_on<E>(&mut self, most: &mut usize, mut each: impl FnMut(&mut Row<K, V>) -> Result<(), E>) -> Result<bool, E> {
        let Table { rows, buckets, listed, cursor, .. } = self;
        let end = if *listed { buckets.len() } else { rows.num_buckets() };
        while *cursor < end {
            if *most == 0 {
                return Ok(false);
            }
            let bucket = if *listed { buckets[*cursor] as usize } else { *cursor };
            *cursor += 1;
            match rows.get_bucket_mut(bucket) {
                Some(row) if row.mark() != KEPT => {
                    *most -= 1;
                    each(row)?;
                }
                _ if (*cursor).is_multiple_of(LOOKS) => *most -= 1,
                _ => {}
            }
        }
        *cursor = 0;
        Ok(true)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row<K, V>> {
        self.rows.iter()
    }

    /// Moves up to `budget` rows out, the next ones from bucket `cursor` on; `true` when the table is empty.
    pub(super) fn take(&mut self, budget: usize, cursor: &mut usize, mut each: impl FnMut(Row<K, V>)) -> bool {
        if budget >= self.rows.len() {
            // Draining, unlike removing one by one, leaves no traces of removed rows behind.
            self.rows.drain().for_each(each);
            return true;
        }
        self.repeats = true;
        let mut left = budget;
        while left > 0 {
            if let Ok(entry) = self.rows.get_bucket_entry(*cursor) {
                each(entry.remove().0);
                left -= 1;
            }
            // Rows put in behind the cursor are found in the next round.
            *cursor = if *cursor + 1 < self.rows.num_buckets() { *cursor + 1 } else { 0 };
        }
        false
    }

    /// Empties it for another use: nothing is in a snapshot, so nothing need be listed.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.buckets.clear();
        self.listed = false;
        self.repeats = false;
        self.cursor = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn num_buckets(&self) -> usize {
        self.rows.num_buckets()
    }

    pub(super) fn allocated(&self) -> usize {
        self.rows.allocation_size() + self.buckets.capacity() * size_of::<u32>()
    }
}

fn put<K: Key, V: Data>(section: &mut Section, prefix: &[u8], row: &Row<K, V>) -> Result<(), CodecError> {
    let (mut key, mut value) = (Ok(()), Ok(()));
    section.put(
        KeyGroup::of(row.word),
        |bytes| {
            bytes.extend_from_slice(prefix);
            key = encode_into(&row.key, bytes);
        },
        |bytes| value = encode_into(&row.value, bytes),
    );
    key.and(value)
}
