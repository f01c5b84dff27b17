//! Counting by hand: the same for every loop, but for the hashing.

use std::collections::HashMap;
use std::hash::BuildHasher;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const BOUND: i64 = 5_000;

type Counts<S> = HashMap<String, (u64, u64), S>;

/// Open minutes, and how far each partition has come.
pub(crate) struct Windows<S> {
    /// Few, and mostly the last one is meant.
    open: Vec<(i64, Counts<S>)>,
    newest: Vec<i64>,
    emptied: Vec<Counts<S>>,
}

impl<S: BuildHasher + Default> Windows<S> {
    pub(crate) fn new(partitions: usize) -> Self {
        Windows { open: Vec::new(), newest: vec![i64::MIN / 2; partitions], emptied: Vec::new() }
    }

    /// Counts a click; false when it is late.
    pub(crate) fn count(&mut self, partition: usize, page: &str, at: i64, dwell: u64) -> bool {
        let newest = &mut self.newest[partition];
        *newest = at.max(*newest);
        let start = at - at.rem_euclid(MINUTE);
        if start + MINUTE <= *newest - BOUND {
            return false;
        }
        let open = self.open.iter().rposition(|(open, _)| *open == start).unwrap_or_else(|| {
            self.open.push((start, self.emptied.pop().unwrap_or_default()));
            self.open.len() - 1
        });
        let counts = &mut self.open[open].1;
        match counts.get_mut(page) {
            Some((views, max)) => (*views, *max) = (*views + 1, dwell.max(*max)),
            None => drop(counts.insert(page.to_owned(), (1, dwell))),
        }
        true
    }

    /// A partition has ended: nothing more of it is waited for.
    pub(crate) fn end(&mut self, partition: usize) {
        self.newest[partition] = i64::MAX;
    }

    /// Gives every count of the minutes that are over.
    pub(crate) fn fire(&mut self, mut each: impl FnMut(&str, i64, u64, u64)) {
        let watermark = self.newest.iter().copied().min().unwrap_or(i64::MAX).saturating_sub(BOUND);
        while let Some(over) = self.open.iter().position(|(start, _)| start + MINUTE <= watermark) {
            let (start, mut counts) = self.open.swap_remove(over);
            counts.drain().for_each(|(page, (views, max))| each(&page, start, views, max));
            self.emptied.push(counts);
        }
    }
}
