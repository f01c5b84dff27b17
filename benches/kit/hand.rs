//! The loops that a competent programmer would write by hand: one thread, the standard collections with a fast hash, no framework.
//!
//! They keep the same promises about time: a watermark for each partition, late records let go, results when the least watermark passes.
//! They keep none about crashes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use foldhash::fast::FixedState;

use super::load::{BOUND, Load, MINUTE, PARTITIONS, SECOND, SPAN, User, Visit};
use super::tally::{Answer, of_pane};

/// Records read from a partition before the next one has its turn.
const BATCH: usize = 2048;

type Map<K, V> = HashMap<K, V, FixedState>;

/// What a loop keeps.
pub(crate) trait Hand<K>: Default {
    /// Takes a record; `seen` is the watermark of its partition.
    fn take(&mut self, visit: Visit<K>, seen: i64, out: &mut Out);
    /// Every partition has come this far.
    fn fire(&mut self, watermark: i64, out: &mut Out);
}

/// What a loop gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) answer: Answer,
    pub(crate) late: u64,
}

/// The loop: partitions in turn, batch by batch.
pub(crate) fn by_hand<K: User, H: Hand<K>>(load: &Load, passes: u64) -> Out {
    let (mut hand, mut out) = (H::default(), Out::default());
    let mut watermarks = [i64::MIN; PARTITIONS];
    let longest = load.iter().map(Vec::len).max().unwrap_or(0);
    for pass in 0..passes {
        let shift = pass as i64 * SPAN;
        for from in (0..longest).step_by(BATCH) {
            for (records, watermark) in load.iter().zip(&mut watermarks) {
                for raw in records.iter().skip(from).take(BATCH) {
                    let visit: Visit<K> = raw.visit(shift);
                    *watermark = (*watermark).max(visit.at - BOUND);
                    hand.take(visit, *watermark, &mut out);
                }
            }
            hand.fire(watermarks.into_iter().min().unwrap_or(i64::MIN), &mut out);
        }
    }
    hand.fire(i64::MAX, &mut out);
    out
}

/// Map, filter, map, filter, fold.
pub(crate) fn stateless(load: &Load, passes: u64) -> Out {
    let mut out = Out::default();
    for pass in 0..passes {
        let shift = pass as i64 * SPAN;
        for raw in load.iter().flatten() {
            let visit = raised(raw.visit(shift));
            if !stays(&visit) {
                continue;
            }
            let pair = paired(visit);
            if is_odd(&pair) {
                out.answer.add(pair.0 ^ pair.1);
            }
        }
    }
    out
}

/// The first step.
#[inline]
pub(crate) fn raised(visit: Visit<u64>) -> Visit<u64> {
    Visit { dwell: visit.dwell * 3 + 1, ..visit }
}

/// The second one: most stay.
#[inline]
pub(crate) fn stays(visit: &Visit<u64>) -> bool {
    visit.dwell > 30_000
}

/// The third one.
#[inline]
pub(crate) fn paired(visit: Visit<u64>) -> (u64, u64) {
    (visit.key ^ visit.at as u64, visit.dwell / 2)
}

/// The fourth one: half stay.
#[inline]
pub(crate) fn is_odd(pair: &(u64, u64)) -> bool {
    pair.1 % 2 == 1
}

/// Count and longest dwell for each user and minute.
pub(crate) struct Tumbling<K> {
    windows: BTreeMap<i64, Map<K, (u64, u64)>>,
}

impl<K> Default for Tumbling<K> {
    fn default() -> Self {
        Tumbling { windows: BTreeMap::new() }
    }
}

impl<K: User> Hand<K> for Tumbling<K> {
    #[inline]
    fn take(&mut self, visit: Visit<K>, seen: i64, out: &mut Out) {
        let start = visit.at - visit.at.rem_euclid(MINUTE);
        if start + MINUTE <= seen {
            out.late += 1;
            return;
        }
        let (count, longest) = self.windows.entry(start).or_default().entry(visit.key).or_default();
        *count += 1;
        *longest = visit.dwell.max(*longest);
    }

    fn fire(&mut self, watermark: i64, out: &mut Out) {
        while let Some(first) = self.windows.first_entry().filter(|first| first.key() + MINUTE <= watermark) {
            let (start, users) = first.remove_entry();
            users.into_iter().for_each(|(key, value)| out.answer.add(of_pane(&key, start, start + MINUTE, value)));
        }
    }
}

/// The longest dwell of each user in a minute, each ten seconds: kept by slices of ten seconds, which are merged when a window fires.
pub(crate) struct Sliding<K> {
    slices: BTreeMap<i64, Map<K, u64>>,
    /// Records that came too late for some of their windows, for each of the others.
    apart: BTreeMap<i64, Map<K, u64>>,
    fired: i64,
}

pub(crate) const SLIDE: i64 = 10 * SECOND;

impl<K> Default for Sliding<K> {
    fn default() -> Self {
        Sliding { slices: BTreeMap::new(), apart: BTreeMap::new(), fired: i64::MIN }
    }
}

impl<K: User> Sliding<K> {
    /// The start of the next window to fire.
    fn next(&self) -> Option<i64> {
        let slice = self.slices.keys().next().map(|slice| (slice + SLIDE - MINUTE).max(self.fired));
        slice.into_iter().chain(self.apart.keys().next().copied()).min()
    }
}

fn longer<K: User>(map: &mut Map<K, u64>, key: K, dwell: u64) {
    let longest = map.entry(key).or_default();
    *longest = dwell.max(*longest);
}

impl<K: User> Hand<K> for Sliding<K> {
    #[inline]
    fn take(&mut self, visit: Visit<K>, seen: i64, out: &mut Out) {
        let slice = visit.at - visit.at.rem_euclid(SLIDE);
        if slice + SLIDE > seen {
            longer(self.slices.entry(slice).or_default(), visit.key, visit.dwell);
        } else if slice + MINUTE <= seen {
            out.late += 1;
        } else {
            let starts = (0..MINUTE / SLIDE).map(|n| slice - n * SLIDE);
            for start in starts.filter(|start| start + MINUTE > seen) {
                longer(self.apart.entry(start).or_default(), visit.key.clone(), visit.dwell);
            }
        }
    }

    fn fire(&mut self, watermark: i64, out: &mut Out) {
        while let Some(start) = self.next().filter(|start| start + MINUTE <= watermark) {
            let mut users = self.apart.remove(&start).unwrap_or_default();
            for (key, dwell) in self.slices.range(start..start + MINUTE).flat_map(|(_, users)| users) {
                longer(&mut users, key.clone(), *dwell);
            }
            for (key, dwell) in users {
                out.answer.add(of_pane(&key, start, start + MINUTE, (0, dwell)));
            }
            self.slices.remove(&start);
            self.fired = start + SLIDE;
        }
    }
}

/// Count and longest dwell of each user's sessions, which end after half a minute of silence.
pub(crate) struct Sessions<K> {
    users: Map<K, Vec<Open>>,
    /// When to look at whom: at the end of a session as it was when noted.
    due: BinaryHeap<Reverse<(i64, Noted<K>)>>,
}

/// A session.
struct Open {
    start: i64,
    end: i64,
    noted: i64,
    value: (u64, u64),
}

/// A user in the heap, which orders by time alone.
struct Noted<K>(K);

impl<K> PartialEq for Noted<K> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<K> Eq for Noted<K> {}
impl<K> PartialOrd for Noted<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Noted<K> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

pub(crate) const GAP: i64 = 30 * SECOND;

impl<K> Default for Sessions<K> {
    fn default() -> Self {
        Sessions { users: Map::default(), due: BinaryHeap::new() }
    }
}

impl<K: User> Hand<K> for Sessions<K> {
    #[inline]
    fn take(&mut self, visit: Visit<K>, seen: i64, out: &mut Out) {
        let (start, end) = (visit.at, visit.at + GAP);
        if start < seen {
            out.late += 1;
            return;
        }
        let sessions = self.users.entry(visit.key.clone()).or_default();
        let mut joined = Open { start, end, noted: i64::MAX, value: (1, visit.dwell) };
        sessions.retain(|open| {
            let apart = open.end <= start || end <= open.start;
            if !apart {
                joined.start = joined.start.min(open.start);
                joined.end = joined.end.max(open.end);
                joined.noted = joined.noted.min(open.noted);
                joined.value = (joined.value.0 + open.value.0, joined.value.1.max(open.value.1));
            }
            apart
        });
        if joined.noted == i64::MAX {
            joined.noted = end;
            self.due.push(Reverse((end, Noted(visit.key))));
        }
        sessions.push(joined);
    }

    fn fire(&mut self, watermark: i64, out: &mut Out) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= watermark) {
            let Some(Reverse((due, Noted(key)))) = self.due.pop() else { break };
            let Some(sessions) = self.users.get_mut(&key) else { continue };
            let Some(at) = sessions.iter().position(|open| open.noted == due) else { continue };
            if sessions[at].end > due {
                sessions[at].noted = sessions[at].end;
                self.due.push(Reverse((sessions[at].end, Noted(key))));
                continue;
            }
            let Open { start, end, value, .. } = sessions.swap_remove(at);
            out.answer.add(of_pane(&key, start, end, value));
            if sessions.is_empty() {
                self.users.remove(&key);
            }
        }
    }
}
