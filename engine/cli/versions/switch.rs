//! `promote` and `rollback`: which version the live line follows, and from which event time on.

use std::collections::BTreeMap;
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
    let seen = job.entry()?.live();
    job.decide(|entry, facts| entry.promote(number, seen, &gates, facts))
}

pub(in crate::cli) fn rollback(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    job.entry()?;
    job.decide(Entry::rollback)
}

impl Job<'_> {
    /// Decides under the fence, with what is known of every version at that moment, and says what came of it.
    fn decide(&self, mut decide: impl FnMut(&Entry, &mut Facts<'_>) -> Result<Decided, Fault>) -> Result<Exit, Fault> {
        let dry = flag(self.matches, id::DRY_RUN);
        let lead = self.matches.get_one::<Duration>(id::LEAD).copied().unwrap_or_default();
        let mut said = Vec::new();
        let mut decide = |entry: &Entry| {
            let fresh = self.fresh(entry)?;
            let mut find = |output: &Output, time| self.ledger.find(&output.at, time);
            let decided = decide(entry, &mut Facts { now: clock::wall(), lead, fresh: &fresh, find: &mut find })?;
            let live = |entry: &Entry| entry.live().map_or("none".to_owned(), |live| live.to_string());
            said = match &decided.entry {
                Some(next) => vec![format!("version {} of job {} is live", live(next), entry.job)],
                None => Vec::new(),
            };
            said.extend(decided.words);
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

    /// How every version stands now, as far as that can be found out.
    fn fresh(&self, entry: &Entry) -> Result<BTreeMap<u32, Standing>, Fault> {
        entry.versions.iter().map(|(number, version)| Ok((*number, self.standing(*number, version)?))).collect()
    }
}
