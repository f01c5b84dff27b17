//! Where the line changes from one version to another, output by output: pure functions of what is known of both.
//!
//! Of an old version that runs, the switch lies past everything written, and readers go over on its word that it is complete up to there. Of
//! one that does not run it lies where that one stopped, and readers go over once they have read what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millpond_state::Timestamp;

use super::decide::refused;
use super::entry::{Entry, More, Output, Standing, State};
use super::line::{Leg, Turn};
use crate::{Fault, OutputReached};

/// Who has not been heard of for so long is taken for dead.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// What a decision about the line goes by, besides the entry: how versions stand now, and where event times lie in an output.
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// How far beyond everything written the line changes, so that readers learn of it before.
    pub lead: Duration,
    /// How a version stands now, where that could be found out. Of the others the entry's word is all there is.
    pub fresh: &'a BTreeMap<u32, Standing>,
    /// Versions of this host that gave no answer, or whose state cannot be read: they count as stopped where they said last that they were.
    pub silent: &'a BTreeSet<u32>,
    /// Where the partitions of a version's output ended before it was asked how it stands, by version and output, where all that lies before is in
    /// its word.
    pub before: &'a BTreeMap<(u32, String), Vec<u64>>,
    /// Offsets of an output's partitions before which nothing of an event time or later lies.
    pub find: &'a mut dyn FnMut(&Output, Timestamp) -> Result<Vec<u64>, Fault>,
    /// Where an output's partitions end now.
    pub ends: &'a mut dyn FnMut(&Output) -> Result<Vec<u64>, Fault>,
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("now", &self.now).field("fresh", &self.fresh).finish_non_exhaustive()
    }
}

/// What a decision about the line came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The entry to write; `None` when it is so already.
    pub entry: Option<Entry>,
    /// What to tell people.
    pub words: Vec<String>,
}

/// A version as a decision sees it.
struct Seen {
    number: u32,
    standing: Standing,
    /// Whether it stands exactly so: it was asked, or said at its end that it stopped there. Otherwise it may have written more.
    exact: bool,
}

impl Seen {
    fn runs(&self) -> bool {
        matches!(self.standing.state, State::Running | State::Starting)
    }
}

impl Facts<'_> {
    fn seen(&self, entry: &Entry, number: u32) -> Seen {
        if let Some(standing) = self.fresh.get(&number) {
            return Seen { number, standing: standing.clone(), exact: true };
        }
        let known = entry.versions.get(&number);
        let mut standing = known.map(|known| known.standing.clone()).unwrap_or_default();
        let exact = matches!(standing.state, State::Stopped | State::Finished);
        if !exact && (self.silent.contains(&number) || !known.is_some_and(|known| known.is_heard_of(self.now))) {
            standing.state = State::Stopped;
        }
        Seen { number, standing, exact }
    }
}

impl Entry {
    /// The live version is asked for again. Where readers of an output still wait for a version that does not run, they wait no longer.
    pub(super) fn hasten(&self, live: u32, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let mut entry = self.changed();
        let words = entry.let_go(Some(live), false, facts)?;
        if words.is_empty() {
            let words = vec![format!("version {live} of job {} is live already", self.job)];
            return Ok(Decided { entry: None, words });
        }
        entry.hear(facts);
        Ok(Decided { entry: Some(entry), words })
    }

    /// Lets readers go from versions that do not run, `but` aside, where they wait for them: each output by itself.
    fn let_go(&mut self, but: Option<u32>, back: bool, facts: &mut Facts<'_>) -> Result<Vec<String>, Fault> {
        let mut words = Vec::new();
        for here in 1..self.line.len() {
            let (before, next) = (self.line[here - 1].clone(), self.line[here].clone());
            let left = facts.seen(self, before.version);
            if left.runs() || but == Some(before.version) {
                continue;
            }
            let taken = facts.seen(self, next.version);
            let mut turned = Vec::new();
            for (name, turn) in &next.outputs {
                if !self.waits(before.version, name, turn) {
                    continue;
                }
                let outputs = (self.output(before.version, name), self.output(next.version, name));
                let (Some(old), Some(new)) = outputs else { continue };
                let (least, back) = (before.from(name), back || next.back);
                let sooner = self.turn([(&left, old), (&taken, new)], least, back, facts, &mut turned)?;
                // Where it was to be is beyond all that was known then; readers may have begun there.
                let sooner = match sooner.from > turn.from {
                    true => Turn { ends: sooner.ends, ..turn.clone() },
                    false => sooner,
                };
                self.line[here].outputs.insert(name.clone(), sooner);
            }
            if !turned.is_empty() {
                self.shorten(here);
                words.push(format!("version {} does not run, and the line no longer waits for it", before.version));
                words.append(&mut turned);
            }
        }
        Ok(words)
    }

    /// Whether no reader can have passed the newest switch: from none of the versions before it, since a reader that learns late of several
    /// switches goes from the first to the last at once.
    pub(super) fn untouched(&self) -> bool {
        let [before @ .., last] = &self.line[..] else { return false };
        let held = |leg: &Leg| last.outputs.iter().all(|(name, turn)| self.waits(leg.version, name, turn));
        let ended = self.line.iter().flat_map(|leg| leg.outputs.values()).any(|turn| turn.ends.is_some());
        !before.is_empty() && !last.outputs.is_empty() && !ended && before.iter().all(held)
    }

    /// A new leg: from `live` to `to`.
    pub(super) fn switch(&self, live: u32, to: u32, back: bool, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let mut entry = self.changed();
        // Readers that still wait for a version that died are not held before a switch that lies further on.
        let mut freed = entry.clone();
        let mut words = match freed.let_go(None, back, facts) {
            Ok(words) => {
                entry = freed;
                words
            }
            Err(fault) if !back => return Err(fault),
            // The way back is open whatever lies on it, and nothing is done by half.
            Err(_) => Vec::new(),
        };
        entry.hear(facts);
        let (left, taken) = (facts.seen(self, live), facts.seen(self, to));
        if let Some((what, since)) = left.standing.waits_long(facts.now) {
            words.push(format!("version {live} has not committed since {since}: {what}; readers go over once it goes on, or has stopped"));
        }
        if back && taken.standing.state == State::Finished {
            words.push(format!(
                "version {to} has finished: readers get all that it wrote, and nothing comes after that"
            ));
        } else if back && !taken.runs() {
            words.push(format!("version {to} does not run: the line stands still until it is started"));
        }
        let mut outputs = BTreeMap::new();
        for output in self.versions.get(&to).map(|version| version.outputs.as_slice()).unwrap_or_default() {
            if output.upsert {
                words.push(format!("{}: a table has no line; readers change to {} themselves", output.name, output.at));
                continue;
            }
            let Some(old) = self.output(live, &output.name) else {
                words.push(format!("{}: new in version {to}", output.name));
                continue;
            };
            let least = entry.line.last().map_or(Timestamp::MIN, |leg| leg.from(&output.name));
            let turn = self.turn([(&left, old), (&taken, output)], least, back, facts, &mut words)?;
            outputs.insert(output.name.clone(), turn);
        }
        for old in self.versions.get(&live).map(|version| version.outputs.as_slice()).unwrap_or_default() {
            if self.output(to, &old.name).is_none() {
                words.push(format!("{}: version {to} does not write it; its line ends", old.name));
            }
        }
        entry.line.push(Leg { version: to, decided: facts.now, back, left: false, outputs, more: More::new() });
        Ok(Decided { entry: Some(entry), words })
    }

    /// Where one output changes from one version to another, not before `least`.
    fn turn(
        &self,
        [(left, old), (taken, new)]: [(&Seen, &Output); 2],
        least: Timestamp,
        back: bool,
        facts: &mut Facts<'_>,
        words: &mut Vec<String>,
    ) -> Result<Turn, Fault> {
        let (name, live, to, job) = (&old.name, left.number, taken.number, &self.job);
        let of =
            |seen: &Seen, output: &Output| seen.standing.reached.outputs.get(&output.sink).cloned().unwrap_or_default();
        let (reached, since) = (of(left, old), of(taken, new).since);
        if of(taken, new).is_never_whole() {
            return Err(refused(format!(
                "{name} of version {to} of job {job} is never known to be whole: a step above it began with nothing at the savepoint; `replay` a \
                 version from the beginning, and promote that one",
            )));
        }
        let stopped = left.standing.state == State::Stopped;
        // In whole milliseconds, since Kafka keeps event times no finer: nothing below the switch may be lacking, nothing written lie above it.
        let from = match left.standing.state {
            State::Running | State::Starting => {
                whole_millis(beyond_all(&[&left.standing, &taken.standing]).saturating_add(facts.lead))
            }
            State::Stopped => reached.stopped_at(old.settled),
            State::Finished => whole_millis(reached.beyond),
        };
        if stopped && !old.settled {
            words.push(format!(
                "{name}: version {live} does not run, so rows below the switch that it has not written are missing from the line"
            ));
        } else if stopped && !left.exact {
            words.push(self.unsaid(left, old, &reached, (facts.ends)(old)?));
        } else if stopped && reached.beyond > reached.complete {
            if !back {
                return Err(refused(format!(
                    "version {live} of job {job} does not run, and stopped while one of its workers had written rows of {name} up to {} and \
                     another one only those before {}: between the two the line would have a gap; start version {live} again",
                    reached.beyond, reached.complete
                )));
            }
            words.push(format!(
                "{name}: version {live} does not run, and has written some rows from {} up to {} and others not: readers that have taken \
                 some of them lack the others",
                reached.complete, reached.beyond
            ));
        }
        // What began with a savepoint has no rows of before.
        let mut since = whole_millis(since);
        if since > from && old.settled && stopped {
            // Where there is no whole millisecond between the two.
            since = of(taken, new).since;
            if since > reached.complete {
                return Err(refused(format!(
                    "version {to} of job {job} began with a savepoint and has rows of {name} from {since} on, and version {live}, which does \
                     not run, has those before {}: between the two the line would have a gap; start version {live} again",
                    reached.complete
                )));
            }
        }
        let from = from.max(since).max(least);
        words.push(format!(
            "{name}: rows before {from} from {} (version {live}), rows from then on from {} (version {to})",
            old.at, new.at
        ));
        let ends = if stopped { Some((facts.ends)(old)?) } else { None };
        // Output is in no order of event time, and what was written so far may all lie below the switch. Then it is read from where it ended.
        let starts = match facts.before.get(&(to, new.name.clone())) {
            Some(before) if facts.fresh.contains_key(&to) && says_below(taken, new, from) => before.clone(),
            _ => (facts.find)(new, from)?,
        };
        Ok(Turn { from, starts, ends, more: More::new() })
    }

    /// What readers may miss of a version that does not run and was not asked: what it has written since its last word, it may have written
    /// between two of its workers.
    fn unsaid(&self, left: &Seen, old: &Output, reached: &OutputReached, ends: Vec<u64>) -> String {
        let (name, live, complete) = (&old.name, left.number, reached.complete);
        let said = format!("{name}: version {live} said last that it is complete up to {complete}");
        if left.standing.ends.get(name) == Some(&ends) && reached.beyond <= complete {
            return format!("{said}, and has written nothing since");
        }
        format!(
            "{said}, and its output holds rows beyond that: readers that have taken some of them go over behind those, and lack others from \
             between, where it stopped between two of its workers"
        )
    }

    /// What was found out of versions is as good as their own word, where they have not said more since.
    fn hear(&mut self, facts: &Facts<'_>) {
        for (number, standing) in facts.fresh {
            if let Some(version) = self.versions.get_mut(number)
                && standing.at >= version.standing.at
                && standing.follows(&version.standing)
            {
                version.standing = standing.clone();
            }
        }
    }
}

impl OutputReached {
    /// Where the line leaves a version that stopped: nothing below is lacking where its records keep to the watermark, nothing above was written
    /// where they do not.
    pub(super) fn stopped_at(&self, settled: bool) -> Timestamp {
        if settled {
            Timestamp::from_micros(self.complete.micros().div_euclid(1_000).saturating_mul(1_000))
        } else {
            whole_millis(self.complete.max(self.beyond))
        }
    }
}

/// Whether a version says of an output that it has written nothing of an event time or later. One that says nothing of it may have.
fn says_below(seen: &Seen, output: &Output, from: Timestamp) -> bool {
    seen.standing.reached.outputs.get(&output.sink).is_some_and(|reached| reached.beyond <= from)
}

/// The first whole millisecond that is not before: Kafka keeps event times no finer.
fn whole_millis(time: Timestamp) -> Timestamp {
    if time == Timestamp::MIN || time == Timestamp::MAX {
        return time;
    }
    Timestamp::from_millis(time.plus_micros(999).micros().div_euclid(1_000))
}

/// The first event time after everything that versions have read or written, final watermarks aside.
fn beyond_all(standings: &[&Standing]) -> Timestamp {
    let times = standings.iter().flat_map(|standing| {
        let reached = &standing.reached;
        // A record from the far future must not move the line there; outputs are bounded by what was read, but for such records.
        [reached.watermark, reached.newest.plus_micros(1)]
    });
    times.filter(|time| *time < Timestamp::LAST).max().unwrap_or(Timestamp::MIN)
}
