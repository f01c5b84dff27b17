//! One value a window and key: what every aligned window keeps until it fires.
//!
//! Each open window has a table of its own, and the table of a fired window is kept for the next one: measured, that is a third
//! faster than one table of (window, key) pairs, and a fired window is one deletion instead of one for each key.
//!
//! Keys stand in the rows. Texts in an arena for each window were tried: a third faster where memory is contended, between a third
//! slower and a seventh faster where it is not, and every look at a key would have to build it first.

use std::borrow::Borrow;

use super::deleted::Deleted;
use super::table::Table;
use super::{Handle, ordered_prefix, split_ordered, stored_key};
use crate::{CodecError, Data, Key, KeyGroup, Section, decode};

/// How many emptied tables wait for a window.
const SPARE_TABLES: usize = 4;

/// The values of keys in open windows. A window is named by an `i64`, its start in microseconds; it is open from the first value
/// put into it until its last value is taken out.
///
/// ```
/// use millpond_state::{Panes, stable_hash};
/// let mut counts = Panes::<u64, u64>::new(0);
/// for key in [7, 7, 9] {
///     counts.upsert(60_000_000, stable_hash(&key), key, || 0, |count| *count += 1);
/// }
/// let mut fired = Vec::new();
/// while !counts.drain(60_000_000, 1, |key, _hash, count| fired.push((key, count))) {}
/// fired.sort();
/// assert_eq!(fired, [(7, 2), (9, 1)]);
/// assert_eq!(counts.first_window(), None);
/// ```
#[derive(Debug)]
pub struct Panes<K, V> {
    tag: u8,
    /// By start. Few are open at a time.
    windows: Vec<Window<K, V>>,
    /// The window used last: most records go where the one before went.
    last: usize,
    spare: Vec<Table<K, V>>,
    /// Windows that are in an older snapshot and no longer open.
    dropped: Vec<i64>,
}

#[derive(Debug)]
struct Window<K, V> {
    start: i64,
    table: Table<K, V>,
    deleted: Deleted,
    /// Whether an older snapshot has anything of it.
    persisted: bool,
    /// Where draining goes on.
    cursor: usize,
    /// Rows when draining began.
    peak: usize,
}

/// A window of [`Panes`] that is being filled. Made by [`Panes::open`].
#[derive(Debug)]
pub struct OpenWindow<'a, K, V> {
    table: &'a mut Table<K, V>,
}

impl<K: Key, V: Data> OpenWindow<'_, K, V> {
    /// Updates the value of `key`, which `init` makes first where there is none.
    #[inline]
    pub fn upsert<R>(&mut self, hash: u64, key: K, init: impl FnOnce() -> V, update: impl FnOnce(&mut V) -> R) -> R {
        self.table.upsert(hash, key, init, update)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }
}

impl<K: Key, V: Data> Panes<K, V> {
    /// An empty handle whose entries begin with `tag`.
    #[must_use]
    pub fn new(tag: u8) -> Self {
        Panes { tag, windows: Vec::new(), last: 0, spare: Vec::new(), dropped: Vec::new() }
    }

    /// Updates the value of `key` in `window`, which `init` makes first where there is none.
    #[inline]
    pub fn upsert<R>(
        &mut self,
        window: i64,
        hash: u64,
        key: K,
        init: impl FnOnce() -> V,
        update: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.open(window).upsert(hash, key, init, update)
    }

    /// Opens `window` for many updates: what [`Panes::upsert`] does for each alone. A window into which nothing is put stays open.
    ///
    /// ```
    /// use millpond_state::{Panes, stable_hash};
    /// let mut counts = Panes::<u64, u64>::new(0);
    /// let mut window = counts.open(0);
    /// for key in [7, 7, 9] {
    ///     window.upsert(stable_hash(&key), key, || 0, |count| *count += 1);
    /// }
    /// assert_eq!(counts.peek(0, stable_hash(&7u64), &7), Some(&2));
    /// ```
    #[inline]
    pub fn open(&mut self, window: i64) -> OpenWindow<'_, K, V> {
        if self.windows.get(self.last).is_none_or(|open| open.start != window) {
            self.turn_to(window);
        }
        OpenWindow { table: &mut self.windows[self.last].table }
    }

    /// Makes `window` the one used last, opening it where need be.
    #[inline(never)]
    fn turn_to(&mut self, window: i64) {
        self.last = match self.windows.binary_search_by_key(&window, |open| open.start) {
            Ok(at) => at,
            Err(at) => {
                let table = self.spare.pop().unwrap_or_default();
                let deleted = Deleted::default();
                self.windows.insert(at, Window { start: window, table, deleted, persisted: false, cursor: 0, peak: 0 });
                at
            }
        };
    }

    fn find(&self, window: i64) -> Option<usize> {
        match self.windows.get(self.last) {
            Some(open) if open.start == window => Some(self.last),
            _ => self.windows.binary_search_by_key(&window, |open| open.start).ok(),
        }
    }

    /// The value of `key` in `window`.
    #[must_use]
    pub fn peek<Q: Eq + ?Sized>(&self, window: i64, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.windows[self.find(window)?].table.get(hash, key)
    }

    /// Takes the value of `key` out of `window`.
    pub fn remove<Q: Eq + ?Sized>(&mut self, window: i64, hash: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.find(window)?;
        let open = &mut self.windows[at];
        let row = open.table.remove(hash, key)?;
        if open.table.len() == 0 {
            self.close(at);
        } else if row.is_persisted() {
            open.deleted.note(&ordered_prefix(self.tag, window), row.hash(), &row.key);
        }
        Some(row.value)
    }

    /// The open window that starts first.
    #[must_use]
    pub fn first_window(&self) -> Option<i64> {
        self.windows.first().map(|open| open.start)
    }

    /// The open windows, by start.
    pub fn windows(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.windows.iter().map(|open| open.start)
    }

    /// Calls `each` for the keys, hashes and values of `window`, in no order.
    pub fn for_each(&self, window: i64, mut each: impl FnMut(&K, u64, &V)) {
        if let Some(at) = self.find(window) {
            self.windows[at].table.iter().for_each(|row| each(&row.key, row.hash(), &row.value));
        }
    }

    /// Moves up to `budget` keys, hashes and values out of `window`, in no order, and says whether that was all of it. Called
    /// again it goes on where it was, also after a snapshot and restore. A last call, and so a budget that is enough at once, costs a
    /// nanosecond a row, the calls before it five to ten.
    pub fn drain(&mut self, window: i64, budget: usize, mut each: impl FnMut(K, u64, V)) -> bool {
        let Some(at) = self.find(window) else { return true };
        let Window { table, deleted, persisted, cursor, peak, .. } = &mut self.windows[at];
        *peak = table.len().max(*peak);
        // When this call is the last one the whole window is dropped, and no key need be remembered.
        let note = *persisted && budget < table.len();
        let prefix = ordered_prefix(self.tag, window);
        let done = table.take(budget, cursor, |row| {
            if note && row.is_persisted() {
                deleted.note(&prefix, row.hash(), &row.key);
            }
            let hash = row.hash();
            each(row.key, hash, row.value);
        });
        if done {
            self.close(at);
        }
        done
    }

    /// Drops `window` with all that is in it.
    pub fn discard(&mut self, window: i64) {
        if let Some(at) = self.find(window) {
            self.windows[at].peak = self.windows[at].table.len().max(self.windows[at].peak);
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let mut closed = self.windows.remove(at);
        if closed.persisted {
            self.dropped.push(closed.start);
        }
        if at < self.last {
            self.last -= 1;
        }
        // One huge window must not make every later one pay for going through its empty buckets.
        if self.spare.len() < SPARE_TABLES && closed.table.num_buckets() / 8 <= closed.peak {
            closed.table.clear();
            self.spare.push(closed.table);
        }
    }

    /// How many values there are, over all windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.iter().map(|open| open.table.len()).sum()
    }

    /// Whether no window is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Bytes of all tables, without what keys and values own elsewhere.
    #[must_use]
    pub fn approx_bytes(&self) -> usize {
        let open: usize = self.windows.iter().map(|open| open.table.allocated() + open.deleted.allocated()).sum();
        open + self.spare.iter().map(Table::allocated).sum::<usize>()
    }
}

impl<K: Key, V: Data> Handle for Panes<K, V> {
    fn tag(&self) -> u8 {
        self.tag
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        for window in self.dropped.drain(..) {
            section.drop_prefix(&ordered_prefix(self.tag, window));
        }
        for open in &mut self.windows {
            open.persisted = true;
            let prefix = ordered_prefix(self.tag, open.start);
            if !open.deleted.write(most, section) || !open.table.snapshot(&prefix, most, section)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn restore_entry(&mut self, group: KeyGroup, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let (window, key) = split_ordered(self.tag, key)?;
        let (hash, key) = stored_key(group, key)?;
        let value = decode(value)?;
        self.turn_to(window);
        let open = &mut self.windows[self.last];
        open.persisted = true;
        open.table.restore(hash, key, value);
        Ok(())
    }
}
