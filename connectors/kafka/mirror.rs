//! Which positions of sources are written beside a commit record: those that have moved, and those that would expire, so many a commit and
//! in turn. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use millpond_engine::sink::Mirrored;

/// A position is written again after this long, or it would expire.
const RENEW: Duration = Duration::from_hours(1);
/// The most positions of one commit: brokers refuse a batch of some two thousand, and one transaction should not last longer than others.
const MOST: usize = 500;

/// What was written of the positions so far.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    written: HashMap<String, HashMap<u32, (u64, Instant)>>,
    /// Where the next commit begins, so that each has its turn.
    turn: usize,
}

impl Mirror {
    /// The places in `all` of those that are to be written at `now`.
    pub(super) fn due(&self, all: &[Mirrored], now: Instant) -> Vec<usize> {
        let due = |place: &usize| {
            let of = &all[*place];
            let written = self.written.get(&of.from).and_then(|partitions| partitions.get(&of.partition));
            written.is_none_or(|(next, at)| *next != of.next || now.duration_since(*at) >= RENEW)
        };
        let first = self.turn.min(all.len());
        (first..all.len()).chain(0..first).filter(due).take(MOST).collect()
    }

    /// Those at `places` in `all` were written at `now`.
    pub(super) fn written(&mut self, all: &[Mirrored], places: &[usize], now: Instant) {
        for place in places {
            let of = &all[*place];
            // Without a copy of the name where it is known.
            match self.written.get_mut(&of.from) {
                Some(partitions) => drop(partitions.insert(of.partition, (of.next, now))),
                None => drop(self.written.insert(of.from.clone(), HashMap::from([(of.partition, (of.next, now))]))),
            }
        }
        if let Some(last) = places.last() {
            self.turn = last + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: u32, next: u64) -> Vec<Mirrored> {
        (0..count).map(|partition| Mirrored { from: "clicks".to_owned(), partition, next }).collect()
    }

    #[test]
    fn what_has_moved_or_would_expire_is_written() {
        let (mut mirror, now) = (Mirror::default(), Instant::now());
        let mut stands = all(3, 7);
        assert_eq!(mirror.due(&stands, now), [0, 1, 2]);
        mirror.written(&stands, &[0, 1, 2], now);
        assert_eq!(mirror.due(&stands, now), [0; 0]);
        stands[1].next = 8;
        assert_eq!(mirror.due(&stands, now), [1]);
        // What was not committed is due again.
        assert_eq!(mirror.due(&stands, now), [1]);
        mirror.written(&stands, &[1], now + Duration::from_mins(5));
        assert_eq!(mirror.due(&stands, now + RENEW), [2, 0], "the one written later expires later");
    }

    #[test]
    fn of_more_than_a_commit_takes_each_has_its_turn() {
        let (mut mirror, now) = (Mirror::default(), Instant::now());
        let mut written = vec![0; 1_300];
        for round in 0..13 {
            // All of them move all the time.
            let stands = all(1_300, round);
            let due = mirror.due(&stands, now);
            assert_eq!(due.len(), MOST);
            due.iter().for_each(|place| written[*place] += 1);
            mirror.written(&stands, &due, now);
        }
        assert!(written.iter().all(|times| *times == 5), "{written:?}");
    }
}
