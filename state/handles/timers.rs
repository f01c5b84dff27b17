//! Points in event time at which something is due for a key.

use std::collections::BTreeMap;

use super::deleted::Deleted;
use super::{Handle, ordered_prefix, split_ordered, stored_key};
use crate::{CodecError, Key, KeyGroup, Section, Timestamp, encode_into};

/// A set of (time, key), first times first. One key may have many times.
///
/// ```
/// use millpond_state::{Timers, Timestamp, stable_hash};
/// let mut timers = Timers::<u64>::new(0);
/// timers.set(Timestamp::from_secs(20), stable_hash(&7u64), 7);
/// timers.set(Timestamp::from_secs(10), stable_hash(&9u64), 9);
/// let mut due = Vec::new();
/// assert!(timers.pop_due(Timestamp::from_secs(15), 100, |at, _hash, key| due.push((at, key))));
/// assert_eq!(due, [(Timestamp::from_secs(10), 9)]);
/// assert_eq!(timers.next_due(), Some(Timestamp::from_secs(20)));
/// ```
#[derive(Debug)]
pub struct Timers<K> {
    tag: u8,
    timers: BTreeMap<Place, Timer<K>>,
    /// Where timers were set since the last snapshot; they may be gone again.
    set: Vec<Place>,
    deleted: Deleted,
}

/// Time and hash of the key, so that keys need no order of their own, and a number for keys of one hash.
type Place = (Timestamp, u64, u32);

#[derive(Debug)]
struct Timer<K> {
    key: K,
    persisted: bool,
}

impl<K: Key> Timers<K> {
    /// An empty handle whose entries begin with `tag`.
    #[must_use]
    pub fn new(tag: u8) -> Self {
        Timers { tag, timers: BTreeMap::new(), set: Vec::new(), deleted: Deleted::default() }
    }

    /// Sets a timer; `false` when it was set already.
    pub fn set(&mut self, at: Timestamp, hash: u64, key: K) -> bool {
        let Some(place) = self.room(at, hash, &key) else { return false };
        self.timers.insert(place, Timer { key, persisted: false });
        self.set.push(place);
        true
    }

    /// Deletes a timer; `false` when there was none.
    pub fn delete(&mut self, at: Timestamp, hash: u64, key: &K) -> bool {
        let Some(place) = self.place(at, hash, key) else { return false };
        if let Some(timer) = self.timers.remove(&place)
            && timer.persisted
        {
            self.deleted.note(&ordered_prefix(self.tag, at.micros()), hash, key);
        }
        true
    }

    fn same_hash(&self, at: Timestamp, hash: u64) -> impl Iterator<Item = (&Place, &Timer<K>)> {
        self.timers.range((at, hash, 0)..=(at, hash, u32::MAX))
    }

    fn place(&self, at: Timestamp, hash: u64, key: &K) -> Option<Place> {
        self.same_hash(at, hash).find(|(_, timer)| timer.key == *key).map(|(&place, _)| place)
    }

    /// A free place, `None` when the timer is there.
    fn room(&self, at: Timestamp, hash: u64, key: &K) -> Option<Place> {
        let mut nth = 0;
        for (place, timer) in self.same_hash(at, hash) {
            if timer.key == *key {
                return None;
            }
            nth = place.2 + 1;
        }
        Some((at, hash, nth))
    }

    /// The time of the first timer.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first_key_value().map(|(place, _)| place.0)
    }

    /// Takes up to `budget` timers out whose time is at most `watermark`, first times first, and says whether those were all.
    pub fn pop_due(&mut self, watermark: Timestamp, budget: usize, mut each: impl FnMut(Timestamp, u64, K)) -> bool {
        let mut left = budget;
        while let Some(first) = self.timers.first_entry() {
            let &(at, hash, _) = first.key();
            if at > watermark {
                break;
            }
            if left == 0 {
                return false;
            }
            left -= 1;
            let timer = first.remove();
            if timer.persisted {
                self.deleted.note(&ordered_prefix(self.tag, at.micros()), hash, &timer.key);
            }
            each(at, hash, timer.key);
        }
        true
    }

    /// All timers, first times first.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, u64, &K)> {
        self.timers.iter().map(|(&(at, hash, _), timer)| (at, hash, &timer.key))
    }

    /// How many timers are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Bytes of the timers, without what keys own elsewhere.
    #[must_use]
    pub fn approx_bytes(&self) -> usize {
        self.timers.len() * size_of::<(Place, Timer<K>)>()
            + self.set.capacity() * size_of::<Place>()
            + self.deleted.allocated()
    }
}

impl<K: Key> Handle for Timers<K> {
    fn tag(&self) -> u8 {
        self.tag
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        // First, since a timer may have been deleted and set again.
        if !self.deleted.write(most, section) {
            return Ok(false);
        }
        while *most > 0
            && let Some(place) = self.set.pop()
        {
            *most -= 1;
            let Some(timer) = self.timers.get_mut(&place) else { continue };
            if std::mem::replace(&mut timer.persisted, true) {
                continue;
            }
            let mut encoded = Ok(());
            section.put(
                KeyGroup::of(place.1),
                |bytes| {
                    bytes.extend_from_slice(&ordered_prefix(self.tag, place.0.micros()));
                    encoded = encode_into(&timer.key, bytes);
                },
                |_| {},
            );
            encoded?;
        }
        Ok(self.set.is_empty())
    }

    fn restore_entry(&mut self, group: KeyGroup, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let (at, key) = split_ordered(self.tag, key)?;
        let (hash, key) = stored_key::<K>(group, key)?;
        crate::decode::<()>(value)?;
        if let Some(place) = self.room(Timestamp::from_micros(at), hash, &key) {
            self.timers.insert(place, Timer { key, persisted: true });
        }
        Ok(())
    }
}
