//! How far windows have fired: what decides, after a crash, that a published window is not opened again.

use std::ops::Range;

use crate::{KeyGroup, Timestamp};

/// The watermark up to which each key group's windows have fired.
///
/// All groups of a worker stand at one floor, so a look-up is one comparison. After a restore groups may stand differently, since
/// they can come from several workers: those ahead of the floor stand in a table until the floor has caught up with them all.
/// It is kept in the manifest, as runs of neighbouring groups that stand alike.
///
/// ```
/// use millpond_state::{Fired, Timestamp, stable_hash};
/// let mut fired = Fired::new();
/// fired.advance(Timestamp::from_secs(60));
/// assert_eq!(fired.get(stable_hash("LGA")), Timestamp::from_secs(60));
/// assert_eq!(fired.runs(0..512), [(0, 512, Timestamp::from_secs(60))]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    floor: Timestamp,
    /// By group; those not ahead hold less than the floor.
    ahead: Option<Box<[Timestamp; KeyGroup::COUNT]>>,
}

impl Default for Fired {
    fn default() -> Self {
        Fired::new()
    }
}

impl Fired {
    /// Nothing has fired.
    #[must_use]
    pub fn new() -> Self {
        Fired { floor: Timestamp::MIN, ahead: None }
    }

    /// How far the windows of the key with this hash have fired.
    #[inline]
    #[must_use]
    pub fn get(&self, hash: u64) -> Timestamp {
        match &self.ahead {
            None => self.floor,
            Some(ahead) => self.floor.max(ahead[KeyGroup::of(hash).index()]),
        }
    }

    /// The least that any group has fired to.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// All windows up to `to` have fired, in every group. Never goes back.
    pub fn advance(&mut self, to: Timestamp) {
        self.floor = self.floor.max(to);
        if self.ahead.as_ref().is_some_and(|ahead| ahead.iter().all(|at| *at <= self.floor)) {
            self.ahead = None;
        }
    }

    /// Where the groups from `groups.start` to before `groups.end` stand: (first, one past the last, fired to).
    #[must_use]
    pub fn runs(&self, groups: Range<u16>) -> Vec<(u16, u16, Timestamp)> {
        let mut runs: Vec<(u16, u16, Timestamp)> = Vec::new();
        for group in groups {
            let at = match &self.ahead {
                None => self.floor,
                Some(ahead) => self.floor.max(ahead[KeyGroup::new(group).index()]),
            };
            match runs.last_mut() {
                Some(run) if run.2 == at => run.1 = group + 1,
                _ => runs.push((group, group + 1, at)),
            }
        }
        runs
    }

    /// Stands as the runs say for the groups in `groups`, those the worker owns. A group that no run names has fired nothing; of
    /// two runs that name one group the later time counts.
    pub fn restore(&mut self, groups: Range<u16>, runs: &[(u16, u16, Timestamp)]) {
        let mut ahead = Box::new([Timestamp::MIN; KeyGroup::COUNT]);
        for &(first, end, at) in runs {
            for group in first.max(groups.start)..end.min(groups.end) {
                let group = &mut ahead[KeyGroup::new(group).index()];
                *group = at.max(*group);
            }
        }
        let owned = usize::from(groups.start)..usize::from(groups.end);
        self.floor = ahead[owned].iter().min().copied().unwrap_or(Timestamp::MIN);
        self.ahead = ahead.iter().any(|at| *at > self.floor).then_some(ahead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn hash_of(group: u64) -> u64 {
        group << 32
    }

    #[test]
    fn groups_keep_what_they_fired_when_workers_join() {
        let mut fired = Fired::new();
        fired.restore(0..512, &[(0, 100, at(200)), (100, 300, at(190)), (300, 1024, at(250))]);
        assert_eq!(
            (fired.get(hash_of(99)), fired.get(hash_of(100)), fired.get(hash_of(300))),
            (at(200), at(190), at(250))
        );
        assert_eq!(fired.runs(0..512), [(0, 100, at(200)), (100, 300, at(190)), (300, 512, at(250))]);
        fired.advance(at(210));
        assert_eq!(fired.get(hash_of(0)), at(210));
        assert_eq!(fired.runs(0..512), [(0, 300, at(210)), (300, 512, at(250))]);
        fired.advance(at(250));
        assert!(fired.ahead.is_none(), "the table goes when the floor has caught up");
        fired.advance(at(100));
        assert_eq!(fired.get(hash_of(5)), at(250), "never goes back");
    }

    #[test]
    fn a_group_no_run_names_has_fired_nothing() {
        let mut fired = Fired::new();
        fired.restore(0..1024, &[(0, 10, at(5))]);
        assert_eq!((fired.get(hash_of(9)), fired.get(hash_of(10))), (at(5), Timestamp::MIN));
        fired.restore(0..10, &[(0, 10, at(5))]);
        assert!(fired.ahead.is_none(), "groups of others need no table");
        fired.restore(0..1024, &[]);
        assert_eq!(fired, Fired::new());
    }

    #[test]
    fn runs_read_back_on_any_number_of_workers() {
        let mut whole = Fired::new();
        let runs: Vec<_> = (0..1024).map(|group| (group, group + 1, at(i64::from(group / 7) % 5))).collect();
        whole.restore(0..1024, &runs);
        for workers in [1, 2, 3, 8] {
            for group in KeyGroup::all() {
                let worker = group.worker(workers);
                let owned: Vec<u16> = (0..1024).filter(|&of| KeyGroup::new(of).worker(workers) == worker).collect();
                let mut part = Fired::new();
                part.restore(owned[0]..owned[owned.len() - 1] + 1, &whole.runs(0..1024));
                let hash = hash_of(group.index() as u64);
                assert_eq!(part.get(hash), whole.get(hash));
            }
        }
    }
}
