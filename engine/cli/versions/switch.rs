//! `promote` and `rollback`: which version the live line follows, and from which event time on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ArgMatches;

use super::Job;
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, terminal};
use crate::registry::{self, Decided, Entry, Facts, Gates, Output, Standing};
use crate::{Exit, Fault, clock};

pub(in crate::cli) fn promote(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let number: u32 = *matches.get_one(id::VERSION).expect("clap asks for it");
    let within = matches.get_one::<Duration>(id::COMPARED_WITHIN).copied();
    let gates = Gates {
        lag: matches.get_one(id::MAX_LAG).copied().unwrap_or(Gates::default().lag),
        compared_within: if flag(matches, id::UNCOMPARED) { None } else { within.or(Gates::default().compared_within) },
        ..Gates::default()
    };
    let entry = job.entry()?;
    let known = job.known(&entry, Some(number))?;
    let seen = entry.live();
    job.decide(known, |entry, facts| entry.promote(number, seen, &gates, facts))
}

pub(in crate::cli) fn rollback(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let entry = job.entry()?;
    let leave = match (matches.get_one::<u32>(id::LEAVE), entry.ways().as_slice()) {
        (Some(leave), _) => *leave,
        (None, [.., before, live]) if entry.ways().len() > 2 => {
            return Err(Fault::new(
                Exit::Refused,
                format!(
                    "job {} can go back more than one step, and a second call would: say which version is to be left, `rollback {live}` to \
                     go back to version {before}",
                    entry.job
                ),
            ));
        }
        // The one that whoever asks knows of: another one that is live by then is not gone back from.
        (None, ways) => ways.last().copied().unwrap_or_default(),
    };
    let known = job.known(&entry, None)?;
    job.decide(known, |entry, facts| entry.rollback(leave, facts))
}

/// What was found out of versions before the fence is taken, which is held for a moment only: every beat of every job takes it too.
struct Known {
    fresh: BTreeMap<u32, Standing>,
    silent: BTreeSet<u32>,
    notes: Vec<String>,
}

impl Job<'_> {
    /// How the versions of the line stand now, and the one that is to be live. Whichever else gives no answer or cannot be read is no reason to
    /// refuse: it may be the reason for going back.
    fn known(&self, entry: &Entry, needed: Option<u32>) -> Result<Known, Fault> {
        let mut known = Known { fresh: BTreeMap::new(), silent: BTreeSet::new(), notes: Vec::new() };
        let asked: BTreeSet<u32> = entry.line.iter().map(|leg| leg.version).chain(needed).collect();
        for (number, version) in asked.iter().filter_map(|number| Some((*number, entry.versions.get(number)?))) {
            if !self.is_here(number, version) {
                continue;
            }
            match self.standing(number, version) {
                Ok(standing) => drop(known.fresh.insert(number, standing)),
                Err(fault) if needed == Some(number) => return Err(fault),
                Err(fault) => {
                    known.silent.insert(number);
                    known.notes.push(format!("version {number} gives no answer and is taken for stopped: {fault}"));
                }
            }
        }
        Ok(known)
    }

    /// Decides under the fence, and says what came of it.
    fn decide(
        &self,
        known: Known,
        mut decide: impl FnMut(&Entry, &mut Facts<'_>) -> Result<Decided, Fault>,
    ) -> Result<Exit, Fault> {
        let Known { fresh, silent, notes } = known;
        let dry = flag(self.matches, id::DRY_RUN);
        let lead = self.matches.get_one::<Duration>(id::LEAD).copied().unwrap_or_default();
        let mut said = Vec::new();
        let mut decide = |entry: &Entry| {
            let mut find = |output: &Output, time| self.ledger.find(&output.at, time);
            let mut ends = |output: &Output| {
                let kept = self.ledger.kept(&output.at)?.unwrap_or_default();
                Ok(kept.into_iter().map(|kept| kept.end).collect())
            };
            let now = clock::wall();
            let mut facts = Facts { now, lead, fresh: &fresh, silent: &silent, find: &mut find, ends: &mut ends };
            let decided = decide(entry, &mut facts)?;
            let live = |entry: &Entry| entry.live().map_or("none".to_owned(), |live| live.to_string());
            said = match &decided.entry {
                Some(next) => vec![format!("version {} of job {} is live", live(next), entry.job)],
                None => Vec::new(),
            };
            said.extend(decided.words);
            if decided.entry.is_some() {
                said.extend_from_slice(&notes);
            }
            Ok(decided.entry)
        };
        if dry {
            decide(&self.entry()?)?;
            said.insert(0, "with --dry-run nothing is changed; this is what would be:".to_owned());
        } else {
            registry::change(&*self.ledger, &self.env.job, decide)?;
        }
        terminal::print(&format!("{}\n", said.join("\n  ")))?;
        Ok(Exit::Finished)
    }
}
