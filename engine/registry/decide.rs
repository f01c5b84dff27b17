//! Decisions about versions: pure functions from the entry that was read under the fence to the one that follows it, or a refusal.
//!
//! Whoever decides holds the fence, so that each decision sees the one before it. Each is one document and one write: there is nothing
//! between two states.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond_state::Timestamp;

use super::entry::{Compared, Entry, Output, Standing, State, Version};
use super::line::{Leg, Turn};
use crate::{Exit, Fault};

/// What a version must fulfil to be promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates {
    /// It may have this many records still to read.
    pub lag: u64,
    /// It must have been compared with the live version, and have passed, not longer ago than this; `None` does without.
    pub compared_within: Option<Duration>,
    /// It must have been heard of within this.
    pub heard_within: Duration,
}

impl Default for Gates {
    fn default() -> Self {
        Gates { lag: 1_000, compared_within: Some(Duration::from_hours(24)), heard_within: Duration::from_secs(30) }
    }
}

/// What a decision about the line goes by, besides the entry: how both versions stand now, and where event times lie in an output.
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// How far beyond everything written the line changes, so that readers learn of it before.
    pub lead: Duration,
    /// How a version stands now, where more is known than the entry says.
    pub fresh: &'a BTreeMap<u32, Standing>,
    /// The offsets of an output's partitions at an event time.
    pub find: &'a mut dyn FnMut(&Output, Timestamp) -> Result<Vec<u64>, Fault>,
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

fn refused(text: String) -> Fault {
    Fault::new(Exit::Refused, text)
}

impl Entry {
    fn changed(&self) -> Entry {
        Entry { serial: self.serial + 1, ..self.clone() }
    }

    /// A version starts. The first one of a job is live from the beginning of time.
    ///
    /// # Errors
    /// When it was retired, or is being retired.
    pub fn register(&self, number: u32, mut version: Version) -> Result<Entry, Fault> {
        let job = &self.job;
        if self.retired.contains(&number) {
            return Err(Fault::new(
                Exit::NewVersion,
                format!("version {number} of job {job} was retired, and its number never comes back"),
            ));
        }
        let mut entry = self.changed();
        if let Some(known) = self.versions.get(&number) {
            if known.retiring {
                return Err(Fault::new(
                    Exit::NewVersion,
                    format!("version {number} of job {job} is being retired; `retire {number}` goes on with that"),
                ));
            }
            version.registered = known.registered;
            version.from.clone_from(&known.from);
            version.standing = known.standing.clone();
            version.compared = known.compared.clone().filter(|_| known.plan == version.plan);
        }
        entry.versions.insert(number, version);
        if entry.line.is_empty() {
            entry.line.push(Leg { version: number, decided: Timestamp::MIN, back: false, outputs: BTreeMap::new() });
        }
        Ok(entry)
    }

    /// A version says how it stands. Nothing to write when it is not there any more.
    #[must_use]
    pub fn beat(&self, number: u32, standing: Standing) -> Option<Entry> {
        let mut entry = self.changed();
        let version = entry.versions.get_mut(&number).filter(|version| !version.retiring)?;
        version.standing = standing;
        Some(entry)
    }

    /// A version was compared with another one.
    ///
    /// # Errors
    /// When it is not there.
    pub fn compared(&self, number: u32, compared: Compared) -> Result<Entry, Fault> {
        self.version(number)?;
        self.version(compared.with)?;
        let mut entry = self.changed();
        entry.versions.entry(number).and_modify(|version| version.compared = Some(compared));
        Ok(entry)
    }

    /// Makes a version the live one. `seen` is the live version that whoever asks knows of.
    ///
    /// # Errors
    /// When it is not there, does not pass a gate, or another one was promoted meanwhile.
    pub fn promote(
        &self,
        number: u32,
        seen: Option<u32>,
        gates: &Gates,
        facts: &mut Facts<'_>,
    ) -> Result<Decided, Fault> {
        let (job, to) = (&self.job, self.version(number)?);
        if to.retiring {
            return Err(refused(format!("version {number} of job {job} is being retired")));
        }
        let live = self.live();
        if live == Some(number) {
            return self.hasten(number, facts);
        }
        if let (Some(live), true) = (live, live != seen) {
            return Err(refused(format!(
                "version {live} of job {job} was promoted meanwhile, and version {number} was not; look at `versions` and decide again"
            )));
        }
        let Some(live) = live else {
            let mut entry = self.changed();
            entry.line.push(Leg { version: number, decided: facts.now, back: false, outputs: BTreeMap::new() });
            return Ok(Decided { entry: Some(entry), words: vec![format!("version {number} is the first live one")] });
        };
        self.gate(number, live, gates, facts)?;
        self.switch(live, number, false, facts)
    }

    /// What keeps a version from being promoted.
    fn gate(&self, number: u32, live: u32, gates: &Gates, facts: &Facts<'_>) -> Result<(), Fault> {
        let (job, to) = (&self.job, self.version(number)?);
        let standing = facts.fresh.get(&number).unwrap_or(&to.standing);
        let who = format!("version {number} of job {job}");
        let heard = Timestamp::from_micros(standing.at);
        match standing.state {
            State::Starting | State::Stopped => {
                return Err(refused(format!("{who} does not run; start it, and let it catch up")));
            }
            State::Running if heard.saturating_add(gates.heard_within) < facts.now => {
                return Err(refused(format!("{who} was heard of last at {heard}; see whether it still runs")));
            }
            State::Finished => {
                let live = facts.fresh.get(&live).or(self.versions.get(&live).map(|live| &live.standing));
                if live.is_some_and(|live| live.state == State::Running) {
                    return Err(refused(format!(
                        "{who} has finished and the live version goes on: the line would end; run {who} without --until-end"
                    )));
                }
            }
            State::Running => match standing.lag {
                Some(lag) if lag <= gates.lag => {}
                Some(lag) => {
                    return Err(refused(format!(
                        "{who} is behind: {lag} records wait to be read, and --max-lag is {}; let it catch up",
                        gates.lag
                    )));
                }
                None => return Err(refused(format!("how far {who} is behind is not known yet; ask again"))),
            },
        }
        let Some(within) = gates.compared_within else { return Ok(()) };
        let how = format!("`compare {live} {number}` first, or promote with --uncompared");
        match &to.compared {
            Some(compared) if compared.with != live => Err(refused(format!(
                "{who} was compared with version {}, and version {live} is live; {how}",
                compared.with
            ))),
            Some(compared) if !compared.passed => Err(refused(format!(
                "{who} differed from version {live} in {} rows when they were compared at {}; say what is expected with \
                 `compare {live} {number} --expect FILE`, or promote with --uncompared",
                compared.differences, compared.at
            ))),
            Some(compared) if compared.at.saturating_add(within) < facts.now => {
                Err(refused(format!("{who} was compared with version {live} at {}, too long ago; {how}", compared.at)))
            }
            Some(_) => Ok(()),
            None => Err(refused(format!("{who} was not compared with version {live}; {how}"))),
        }
    }

    /// The live version is asked for again. Where the line still waits for a predecessor that does not run, it waits no longer.
    fn hasten(&self, number: u32, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let already = || vec![format!("version {number} of job {} is live already", self.job)];
        let before = self.line.len().checked_sub(2).map(|before| self.line[before].version);
        let Some(before) = before.filter(|before| self.waits(*before)) else {
            return Ok(Decided { entry: None, words: already() });
        };
        let runs = |version: u32| {
            let standing = facts.fresh.get(&version).or(self.versions.get(&version).map(|known| &known.standing));
            standing.is_some_and(|standing| matches!(standing.state, State::Running | State::Starting))
        };
        if runs(before) {
            return Ok(Decided { entry: None, words: already() });
        }
        let mut shorter = self.clone();
        let back = shorter.line.pop().is_some_and(|leg| leg.back);
        let mut decided = shorter.switch(before, number, back, facts)?;
        decided.words.insert(0, format!("version {before} does not run, and the line no longer waits for it"));
        Ok(decided)
    }

    /// Whether readers of every output still wait for a version to reach the newest switch.
    fn waits(&self, before: u32) -> bool {
        let Some(last) = self.line.last() else { return false };
        !last.outputs.is_empty()
            && last.outputs.iter().all(|(name, turn)| self.complete(before, name, turn.from).is_none())
    }

    /// Whether no reader can have passed the newest switch: from none of the versions before it, since a reader that learns late of several
    /// switches goes from the first to the last at once.
    fn untouched(&self) -> bool {
        let before = &self.line[..self.line.len().saturating_sub(1)];
        !before.is_empty() && before.iter().all(|leg| self.waits(leg.version))
    }

    /// The line goes back to the version before the live one.
    ///
    /// # Errors
    /// When there is none, or it has been retired.
    pub fn rollback(&self, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let job = &self.job;
        let mut stack: Vec<u32> = Vec::new();
        for leg in &self.line {
            if leg.back {
                stack.pop();
            } else {
                stack.push(leg.version);
            }
        }
        let [.., before, live] = stack[..] else {
            let live = self.live().map_or("none".to_owned(), |live| live.to_string());
            return Err(refused(format!(
                "job {job} has nothing to go back to: version {live} is live, and none was before it"
            )));
        };
        if self.versions.get(&before).is_none_or(|version| version.retiring) {
            return Err(refused(format!("version {before} of job {job} was retired, and nothing can go back to it")));
        }
        if self.line.len() >= 2 && self.line[self.line.len() - 2].version == before && self.untouched() {
            let mut entry = self.changed();
            entry.line.pop();
            let words =
                vec![format!("version {before} stays live: no reader had passed the switch to version {live} yet")];
            return Ok(Decided { entry: Some(entry), words });
        }
        self.switch(live, before, true, facts)
    }

    /// A new leg: from `live` to `to`.
    fn switch(&self, live: u32, to: u32, back: bool, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let mut entry = self.changed();
        for (number, standing) in facts.fresh {
            if let Some(version) = entry.versions.get_mut(number) {
                version.standing = standing.clone();
            }
        }
        let standing =
            |number: u32| entry.versions.get(&number).map(|version| version.standing.clone()).unwrap_or_default();
        let (left, taken) = (standing(live), standing(to));
        let mut words = Vec::new();
        let mut outputs = BTreeMap::new();
        for output in entry.versions.get(&to).map(|version| version.outputs.as_slice()).unwrap_or_default() {
            if output.upsert {
                words.push(format!("{}: a table has no line; readers change to {} themselves", output.name, output.at));
                continue;
            }
            let Some(old) = entry.output(live, &output.name) else {
                words.push(format!("{}: new in version {to}", output.name));
                continue;
            };
            let from = match left.state {
                // In whole milliseconds: Kafka keeps event times no finer.
                State::Running | State::Starting => {
                    let from = beyond_all(&[&left, &taken]).saturating_add(facts.lead);
                    Timestamp::from_millis(from.plus_micros(999).micros().div_euclid(1_000))
                }
                State::Stopped | State::Finished => {
                    let reached = left.reached.outputs.get(&old.sink).copied().unwrap_or_default();
                    let complete = if reached.complete == Timestamp::MAX { Timestamp::MIN } else { reached.complete };
                    if !old.settled && left.state == State::Stopped {
                        words.push(format!(
                            "{}: version {live} does not run, so rows below the switch that it has not written are missing from the line",
                            output.name
                        ));
                    }
                    complete.max(reached.beyond)
                }
            };
            // What began with a savepoint has no rows of before.
            let reached = taken.reached.outputs.get(&output.sink).copied().unwrap_or_default();
            if reached.is_never_whole() {
                return Err(refused(format!(
                    "{} of version {to} of job {} is never known to be whole: a step above it began with nothing at the savepoint; `replay` a \
                     version from the beginning, and promote that one",
                    output.name, self.job
                )));
            }
            let since = reached.since;
            if since > from && old.settled && left.state == State::Stopped {
                return Err(refused(format!(
                    "version {to} of job {} began with a savepoint and has rows of {} from {since} on, and version {live}, which does not \
                     run, has those before {from}: between the two the line would have a gap; start version {live} again",
                    self.job, output.name
                )));
            }
            let last = entry.line.last().map_or(Timestamp::MIN, |leg| leg.from(&output.name));
            let from = from.max(since).max(last);
            words.push(format!(
                "{}: rows before {from} from {} (version {live}), rows from then on from {} (version {to})",
                output.name, old.at, output.at
            ));
            outputs.insert(output.name.clone(), Turn { from, starts: (facts.find)(output, from)? });
        }
        for old in entry.versions.get(&live).map(|version| version.outputs.as_slice()).unwrap_or_default() {
            if entry.output(to, &old.name).is_none() {
                words.push(format!("{}: version {to} does not write it; its line ends", old.name));
            }
        }
        entry.line.push(Leg { version: to, decided: facts.now, back, outputs });
        Ok(Decided { entry: Some(entry), words })
    }

    /// A version is to be retired: from now on it never starts again.
    ///
    /// # Errors
    /// When it is not there, is live, or readers may still need it.
    pub fn retire(&self, number: u32) -> Result<Entry, Fault> {
        let job = &self.job;
        self.version(number)?;
        if self.live() == Some(number) {
            return Err(refused(format!(
                "version {number} of job {job} is live; promote another one first, or roll back"
            )));
        }
        for (leg, next) in self.line.iter().zip(self.line.iter().skip(1)).filter(|(leg, _)| leg.version == number) {
            let waiting = next.outputs.iter().find(|(name, turn)| {
                let settled = self.output(leg.version, name).is_some_and(|output| output.settled);
                settled && self.complete(leg.version, name, turn.from).is_none()
            });
            if let Some((name, turn)) = waiting {
                return Err(refused(format!(
                    "readers of {name} still take version {number} of job {job} up to {}, which it has not reached; wait for it, or, \
                     if it does not run any more, `promote {}` again",
                    turn.from, next.version
                )));
            }
        }
        let mut entry = self.changed();
        entry.versions.entry(number).and_modify(|version| version.retiring = true);
        Ok(entry)
    }

    /// Everything a version owned is gone.
    #[must_use]
    pub fn retired(&self, number: u32) -> Entry {
        let mut entry = self.changed();
        entry.versions.remove(&number);
        entry.retired.insert(number);
        entry.fold(number);
        entry
    }
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
