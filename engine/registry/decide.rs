//! Decisions about versions: pure functions from the entry that was read under the fence to the one that follows it, or a refusal.
//!
//! Whoever decides holds the fence, so that each decision sees the one before it. Each is one document and one write: there is nothing
//! between two states.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond_state::Timestamp;

use super::entry::{Compared, Entry, More, Output, Standing, State, Version};
use super::line::Leg;
use super::switch::{Decided, Facts, HEARD_WITHIN};
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
        Gates { lag: 1_000, compared_within: Some(Duration::from_hours(24)), heard_within: HEARD_WITHIN }
    }
}

pub(super) fn refused(text: String) -> Fault {
    Fault::new(Exit::Refused, text)
}

impl Entry {
    pub(super) fn changed(&self) -> Entry {
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
            // From now on this run has the word. What it goes on from is all that the one before it has committed, whose last word may still
            // come and is no later one than this.
            let own = std::mem::take(&mut version.standing);
            version.standing = known.standing.clone();
            if !own.run.is_empty() {
                let begins_anew = own.is_another_life(&known.standing);
                version.standing.epoch = if begins_anew { own.epoch } else { own.epoch.max(known.standing.epoch) };
                (version.standing.run, version.standing.life) = (own.run, own.life);
            }
            version.compared = known.compared.clone().filter(|_| known.plan == version.plan);
            version.more.clone_from(&known.more);
        }
        entry.versions.insert(number, version);
        if entry.line.is_empty() {
            entry.line.push(Leg {
                version: number,
                decided: Timestamp::MIN,
                back: false,
                left: false,
                outputs: BTreeMap::new(),
                more: More::new(),
            });
        }
        Ok(entry)
    }

    /// A version that has committed is started again: what it wrote, and on Kafka its commits, lie in the outputs that it had.
    ///
    /// # Errors
    /// When one of them lies somewhere else now.
    pub fn keeps_outputs(&self, number: u32, outputs: &[Output]) -> Result<(), Fault> {
        let Some(known) = self.versions.get(&number).filter(|known| known.standing.epoch > 0) else { return Ok(()) };
        for was in &known.outputs {
            if let Some(now) = outputs.iter().find(|now| now.sink == was.sink && now.at != was.at) {
                let options = known.options.iter().filter(|(_, values)| values.contains(&was.name));
                let option = options.map(|(name, _)| format!(" (--{name} {})", was.name)).next().unwrap_or_default();
                let text = format!(
                    "version {number} of job {} writes {} to {} since it was started first, and not to {}: start it with the options it had{option}, \
                     another output as another version, or with --new",
                    self.job, was.sink, was.at, now.at
                );
                return Err(Fault::new(Exit::Usage, text));
            }
        }
        Ok(())
    }

    /// A version says how it stands. Nothing to write when it is not there any more, or when another run of it has taken over.
    #[must_use]
    pub fn beat(&self, number: u32, standing: Standing) -> Option<Entry> {
        let mut entry = self.changed();
        let version = entry.versions.get_mut(&number).filter(|version| !version.retiring)?;
        if !standing.follows(&version.standing) {
            return None;
        }
        version.standing = standing;
        Some(entry)
    }

    /// A version says which binary runs it.
    #[must_use]
    pub fn built(mut self, number: u32, binary: &str) -> Entry {
        self.versions.entry(number).and_modify(|version| binary.clone_into(&mut version.binary));
        self
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
            entry.line.push(Leg {
                version: number,
                decided: facts.now,
                back: false,
                left: false,
                outputs: BTreeMap::new(),
                more: More::new(),
            });
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
        if let Some((what, since)) = standing.waits_long(facts.now) {
            return Err(refused(format!("{who} has not committed since {since}, and waits: {what}; mend that first")));
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
            Some(Compared { partial: Some(why), .. }) => {
                Err(refused(format!("{who} was compared with version {live} only in part: {why}; {how}")))
            }
            Some(compared) if compared.at.saturating_add(within) < facts.now => {
                Err(refused(format!("{who} was compared with version {live} at {}, too long ago; {how}", compared.at)))
            }
            Some(_) => Ok(()),
            None => Err(refused(format!("{who} was not compared with version {live}; {how}"))),
        }
    }

    /// The line goes back from `leave` to the version that was live before it. Done before, there is nothing to do: asked twice, it never goes
    /// two steps back.
    ///
    /// # Errors
    /// When there is none before it, or that one has been retired.
    pub fn rollback(&self, leave: u32, facts: &mut Facts<'_>) -> Result<Decided, Fault> {
        let job = &self.job;
        let live = self.live().ok_or_else(|| refused(format!("job {job} has no live version to go back from")))?;
        if live != leave {
            self.version(leave)?;
            let words =
                vec![format!("version {leave} of job {job} is not live, version {live} is: nothing to go back from")];
            return Ok(Decided { entry: None, words });
        }
        let [.., before, _] = self.ways()[..] else {
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
            let waiting = next.outputs.iter().find(|(name, turn)| self.waits(leg.version, name, turn));
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

    /// Keeps what tells the topics of a version that is retired from others of the same names.
    #[must_use]
    pub fn doomed(mut self, number: u32, ids: &BTreeMap<String, String>) -> Entry {
        for output in self.versions.get_mut(&number).iter_mut().flat_map(|version| &mut version.outputs) {
            output.id = ids.get(&output.at).cloned();
        }
        self
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
