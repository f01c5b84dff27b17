//! The live line: which version's output counts at which event time, and what a reader does at a switch.
//!
//! A leg says: from this event time on, take that version's output. A reader takes the rows of each leg whose event time lies between
//! the leg's beginning and the next one's. When it learns of a switch after it has handed out rows beyond it, it switches later, behind the
//! last of them, which loses nothing and doubles nothing: each row is taken from the one version that its own boundary gives it to.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::entry::More;

/// From an event time on, the line follows a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The version.
    pub version: u32,
    /// When that was decided.
    pub decided: Timestamp,
    /// Whether it was a way back, to the version that was live before the one before.
    pub back: bool,
    /// Whether the line went back from it, where a retirement took the leg that says so: nothing goes back to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// Where each output changes; one that is not named here changes at the least time.
    pub outputs: BTreeMap<String, Turn>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

/// Where one output changes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Rows of this event time or later come from the new version, earlier ones from the one before.
    pub from: Timestamp,
    /// Where reading the new version's partitions may begin: no row of that event time lies before. Empty for the beginning.
    pub starts: Vec<u64>,
    /// Of an old version that did not run when this was decided: where its partitions ended. Whoever has read up to there has all of it that
    /// counts, and goes over without its word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Vec<u64>>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

impl Leg {
    /// Where it begins for one output.
    #[must_use]
    pub fn from(&self, output: &str) -> Timestamp {
        self.outputs.get(output).map_or(Timestamp::MIN, |turn| turn.from)
    }

    /// Where reading may begin, by partition; empty for the beginning.
    #[must_use]
    pub fn starts(&self, output: &str) -> &[u64] {
        self.outputs.get(output).map_or(&[], |turn| &turn.starts)
    }
}

/// Where a reader of one output stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The version it reads.
    pub version: u32,
    /// Where the leg it is in begins.
    pub since: Timestamp,
    /// What it takes of that version begins here: `since`, or later when it learnt late of the switch.
    pub lower: Timestamp,
    /// The first event time after all rows that it has handed out.
    pub beyond: Timestamp,
}

/// What is next for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: go on.
    Stay,
    /// Rows below `upper` are still this version's; behind them it changes to the leg of that number.
    Until {
        /// The first event time that is not this version's.
        upper: Timestamp,
        /// The leg after it, as an index into the line.
        leg: usize,
        /// The leg by which the line left its version, which may be an earlier one.
        left: usize,
    },
    /// The version was retired while the reader stood in it.
    Gone,
}

impl Entry {
    /// Where a new reader begins that wants rows from an event time on: the leg that has it.
    #[must_use]
    pub fn begin(&self, output: &str, from: Timestamp) -> Option<(Place, usize)> {
        let leg = self.line.iter().rposition(|leg| leg.from(output) <= from)?;
        let since = self.line[leg].from(output);
        let place = Place { version: self.line[leg].version, since, lower: from, beyond: Timestamp::MIN };
        Some((place, leg))
    }

    /// Corrects a reader's place by the line as it is now, and says what is next for it.
    pub fn next(&self, output: &str, place: &mut Place) -> Next {
        let is = |leg: &Leg| leg.version == place.version && leg.from(output) == place.since;
        let here = match self.line.iter().rposition(is) {
            Some(here) => here,
            None => {
                // Legs were folded by a retirement, or taken back before anybody had passed them.
                let Some(here) = self.line.iter().rposition(|leg| leg.from(output) <= place.lower) else {
                    return Next::Gone;
                };
                if self.line[here].version != place.version {
                    return Next::Gone;
                }
                place.since = self.line[here].from(output);
                here
            }
        };
        // Over legs that end where they begin it may come back to the version that it reads, and never leaves it. Where it stands is no other
        // leg for that: the ones before may yet be changed.
        let mut here = here;
        loop {
            let Some(next) = self.line.get(here + 1) else { return Next::Stay };
            let upper = next.from(output).max(place.beyond).max(place.lower);
            // What begins at or below the boundary has been decided since: the last of them is the one that follows.
            let leg = self.line.iter().rposition(|leg| leg.from(output) <= upper).expect("the next leg does");
            if self.line[leg].version != place.version {
                return Next::Until { upper, leg, left: here + 1 };
            }
            here = leg;
        }
    }

    /// Whether a version's output holds every row below an event time, by its own last word, and the ends that a reader must have reached
    /// to have seen them.
    #[must_use]
    pub fn complete(&self, version: u32, output: &str, upper: Timestamp) -> Option<&[u64]> {
        let known = self.versions.get(&version)?;
        let of = known.outputs.iter().find(|of| of.name == output)?;
        let ends = known.standing.ends.get(output)?;
        (known.reached(of).complete >= upper).then_some(ends.as_slice())
    }

    /// Whether a reader has all that it takes of a version below `upper`, where the line has `left` it, when it has read up to `next`.
    #[must_use]
    pub fn may_leave(&self, output: &str, version: u32, (upper, left): (Timestamp, usize), next: &[u64]) -> bool {
        let reached =
            |ends: &[u64]| ends.iter().enumerate().all(|(at, end)| next.get(at).is_some_and(|next| next >= end));
        if self.complete(version, output, upper).is_some_and(reached) {
            return true;
        }
        let turn = self.line.get(left).and_then(|leg| leg.outputs.get(output));
        let Some((turn, ends)) = turn.and_then(|turn| Some((turn, turn.ends.as_deref()?))) else { return false };
        // Whoever has read further stands behind rows of a version that runs again. What it still lacks below a boundary of its own is known
        // by that version's word alone, unless it is read on anyway.
        let further = next.iter().enumerate().any(|(at, next)| ends.get(at).is_none_or(|end| next > end));
        let settled = self.output(version, output).is_some_and(|output| output.settled);
        reached(ends) && (upper == turn.from || !further || !settled)
    }

    /// Whether readers of an output wait for a version's word that it is complete up to a switch.
    #[must_use]
    pub fn waits(&self, before: u32, output: &str, turn: &Turn) -> bool {
        turn.ends.is_none() && self.complete(before, output, turn.from).is_none()
    }

    /// The versions that the line can go back through, the live one last.
    #[must_use]
    pub fn ways(&self) -> Vec<u32> {
        let mut ways: Vec<u32> = Vec::new();
        for leg in self.line.iter().filter(|leg| !leg.left) {
            match ways.iter().rposition(|way| *way == leg.version) {
                Some(place) if leg.back || place + 1 == ways.len() => ways.truncate(place + 1),
                _ => ways.push(leg.version),
            }
        }
        ways
    }

    /// Takes a version out of the line: what was its own falls to the one after it, or, at the end, to the one before.
    pub(super) fn fold(&mut self, version: u32) {
        let mut legs: Vec<Leg> = Vec::new();
        let mut open: Option<BTreeMap<String, Turn>> = None;
        let mut widened = Vec::new();
        let ways = self.ways();
        for mut leg in std::mem::take(&mut self.line) {
            if leg.version == version {
                // The first of several in a row is where the gap begins.
                open.get_or_insert(leg.outputs);
                continue;
            }
            if let Some(turns) = open.take() {
                let turns = turns.into_iter().map(|(name, turn)| (name, Turn { starts: Vec::new(), ..turn }));
                leg.outputs = turns.collect();
                widened.push(legs.len());
            }
            leg.left |= !ways.contains(&leg.version);
            if legs.last().is_none_or(|last| last.version != leg.version) {
                legs.push(leg);
            } else {
                widened.push(legs.len() - 1);
            }
        }
        self.line = legs;
        for leg in widened {
            self.shorten(leg);
        }
    }

    /// A leg begins earlier than it did. Where its version did not run any more when the line left it, what it never wrote falls to the one after
    /// it.
    pub(super) fn shorten(&mut self, here: usize) {
        let [leg, next, ..] = &self.line[here.min(self.line.len())..] else { return };
        let mut turns = next.outputs.clone();
        for (name, turn) in turns.iter_mut().filter(|(_, turn)| turn.ends.is_some()) {
            let Some(version) = self.versions.get(&leg.version) else { continue };
            let Some(output) = version.outputs.iter().find(|output| output.name == *name) else { continue };
            let from = version.reached(output).stopped_at(output.settled).max(leg.from(name));
            // By its word of now: it may have written more since the line left it.
            let starts = if from < turn.from { Vec::new() } else { std::mem::take(&mut turn.starts) };
            let ends = version.standing.ends.get(name).cloned();
            *turn = Turn { from: from.min(turn.from), starts, ends, more: std::mem::take(&mut turn.more) };
        }
        if turns != next.outputs {
            self.line[here + 1].outputs = turns;
            self.shorten(here + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn entry(legs: &[(u32, i64)]) -> Entry {
        let mut entry = Entry::new("views");
        entry.line = legs
            .iter()
            .map(|&(version, from)| {
                let turn = Turn { from: at(from), starts: vec![7], ends: None, more: More::new() };
                let outputs = (from > 0).then(|| ("out".to_owned(), turn)).into_iter().collect();
                Leg { version, decided: at(0), back: false, left: false, outputs, more: More::new() }
            })
            .collect();
        entry
    }

    fn legs(entry: &Entry) -> Vec<(u32, Timestamp, usize)> {
        entry.line.iter().map(|leg| (leg.version, leg.from("out"), leg.starts("out").len())).collect()
    }

    fn place(version: u32, since: Timestamp, beyond: i64) -> Place {
        Place { version, since, lower: since, beyond: at(beyond) }
    }

    #[test]
    fn a_reader_changes_at_the_switch_or_behind_what_it_has_handed_out() {
        let line = entry(&[(1, 0), (2, 100)]);
        let next = |mut place| line.next("out", &mut place);
        assert_eq!(next(place(1, Timestamp::MIN, 40)), Next::Until { upper: at(100), leg: 1, left: 1 });
        assert_eq!(next(place(1, Timestamp::MIN, 140)), Next::Until { upper: at(140), leg: 1, left: 1 });
        assert_eq!(next(place(2, at(100), 140)), Next::Stay);
        let back = entry(&[(1, 0), (2, 100), (1, 120)]);
        let mut far = place(1, Timestamp::MIN, 140);
        assert_eq!((back.next("out", &mut far), far.since), (Next::Stay, Timestamp::MIN), "it never left");
        let mut near = place(1, Timestamp::MIN, 90);
        assert_eq!(back.next("out", &mut near), Next::Until { upper: at(100), leg: 1, left: 1 });
    }

    #[test]
    fn a_switch_that_was_taken_back_is_forgotten_and_a_retired_version_is_gone() {
        let mut place = place(1, Timestamp::MIN, 40);
        assert_eq!(entry(&[(1, 0)]).next("out", &mut place), Next::Stay);
        assert_eq!(entry(&[(2, 0)]).next("out", &mut place), Next::Gone);
    }

    #[test]
    fn a_retired_versions_part_falls_to_the_one_after_it() {
        let mut line = entry(&[(1, 0), (2, 100), (1, 120), (2, 150)]);
        line.fold(1);
        assert_eq!(legs(&line), [(2, Timestamp::MIN, 0)]);
        let mut stands = Place { version: 2, since: at(150), lower: at(160), beyond: at(170) };
        assert_eq!(line.next("out", &mut stands), Next::Stay, "a reader that had passed goes on");
        assert_eq!(stands.since, Timestamp::MIN);
        let mut line = entry(&[(1, 0), (2, 100), (3, 120)]);
        line.fold(2);
        assert_eq!(legs(&line), [(1, Timestamp::MIN, 0), (3, at(100), 0)]);
    }
}
