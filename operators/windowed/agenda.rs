//! When to look at which key: a calendar in event time.
//!
//! It is no state. It can be made again from what the keys hold, so a restore does that, and entries may be out of date: whoever takes
//! one looks whether its key still has something due then. So that a key need not be found again each time its due time moves on, it
//! may stand here with an earlier one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use millpond_state::Timestamp;

/// Keys with their hashes by time. Days are kept unsorted until their turn comes.
#[derive(Debug)]
pub(super) struct Agenda<K> {
    /// Microseconds.
    day: i64,
    days: BTreeMap<i64, Vec<Entry<K>>>,
    /// The first days, in order; nothing in `days` is earlier than `today`.
    now: BinaryHeap<Entry<K>>,
    today: i64,
}

#[derive(Debug)]
struct Entry<K> {
    at: Timestamp,
    hash: u64,
    key: K,
}

impl<K> Ord for Entry<K> {
    // Turned round, since a heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.hash).cmp(&(self.at, self.hash))
    }
}
impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<K> Eq for Entry<K> {}

impl<K> Agenda<K> {
    /// An empty one, with days this long.
    pub(super) fn new(day_micros: i64) -> Self {
        Agenda { day: day_micros.max(1), days: BTreeMap::new(), now: BinaryHeap::new(), today: i64::MIN }
    }

    pub(super) fn add(&mut self, at: Timestamp, hash: u64, key: K) {
        let (entry, day) = (Entry { at, hash, key }, at.micros().div_euclid(self.day));
        if day < self.today {
            self.now.push(entry);
        } else {
            self.days.entry(day).or_default().push(entry);
        }
    }

    /// The earliest time, if it is at most `until`.
    pub(super) fn next(&mut self, until: Timestamp) -> Option<Timestamp> {
        if self.now.is_empty() {
            let (&day, _) = self.days.first_key_value()?;
            if day > until.micros().div_euclid(self.day) {
                return None;
            }
            let (_, entries) = self.days.pop_first()?;
            self.now = entries.into();
            self.today = day.saturating_add(1);
        }
        self.now.peek().map(|entry| entry.at).filter(|at| *at <= until)
    }

    /// Takes all keys of that time out, which [`Agenda::next`] gave.
    pub(super) fn take(&mut self, at: Timestamp, mut each: impl FnMut(u64, K)) {
        while self.now.peek().is_some_and(|entry| entry.at == at)
            && let Some(entry) = self.now.pop()
        {
            each(entry.hash, entry.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::trial::Dice;

    #[test]
    fn keys_come_in_the_order_of_their_times_whenever_they_were_added() {
        for seed in 0..50 {
            let dice = &mut Dice::new(seed);
            let (mut agenda, mut model) = (Agenda::new(dice.between(1, 30)), Vec::new());
            for until in (-50..=100).step_by(7) {
                for _ in 0..dice.below(9) {
                    let at = [dice.between(-60, 120), i64::MIN, i64::MAX][dice.below(20).saturating_sub(17) as usize];
                    agenda.add(Timestamp::from_micros(at), dice.below(3), ());
                    model.push(at);
                }
                model.sort_unstable();
                let mut due = Vec::new();
                while let Some(at) = agenda.next(Timestamp::from_micros(until)) {
                    agenda.take(at, |_, ()| due.push(at.micros()));
                }
                let rest = model.split_off(model.partition_point(|at| *at <= until));
                assert_eq!(due, std::mem::replace(&mut model, rest), "seed {seed}");
            }
        }
    }
}
