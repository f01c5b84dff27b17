//! `promote` and `rollback`: which version the live line follows, and from which event time on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ArgMatches;
use millpond_state::Timestamp;

use super::Job;
use super::standing::Word;
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, terminal};
use crate::registry::{self, Decided, Entry, Facts, Gates, Output, Standing, State};
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
    let seen = entry.live();
    job.decide(Some(number), |entry, facts| entry.promote(number, seen, &gates, facts))
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
    job.decide(None, |entry, facts| entry.rollback(leave, facts))
}

/// So often it is looked again when something changed while the fence was taken; then all is looked up under it.
const LOOKS: u32 = 3;
/// So often, and this long each time, the end of a commit is waited for that is under way when a version is asked.
const COMMITS: u32 = 25;
const COMMIT: Duration = Duration::from_millis(20);

/// What was found out before the fence is taken, which is held for a moment only: every beat of every job takes it too.
struct Known {
    /// The runs of the versions that were asked, by the entry that was looked at.
    runs: BTreeMap<u32, (String, State)>,
    fresh: BTreeMap<u32, Standing>,
    silent: BTreeSet<u32>,
    before: BTreeMap<(u32, String), Vec<u64>>,
    notes: Vec<String>,
    /// Offsets of topics at event times; their ends without one.
    offsets: RefCell<BTreeMap<(String, Option<Timestamp>), Vec<u64>>>,
}

impl Known {
    /// Whether versions have begun or ended since they were asked.
    fn is_over(&self, entry: &Entry) -> bool {
        self.runs.iter().any(|(number, known)| runs(entry, *number).as_ref() != Some(known))
    }
}

fn runs(entry: &Entry, number: u32) -> Option<(String, State)> {
    entry.versions.get(&number).map(|version| (version.standing.run.clone(), version.standing.state))
}

impl Job<'_> {
    /// How the versions of the line stand now, and the one that is to be live. Whichever else gives no answer or cannot be read is no reason to
    /// refuse: it may be the reason for going back.
    fn known(&self, entry: &Entry, needed: Option<u32>) -> Result<Known, Fault> {
        let asked: BTreeSet<u32> = entry.line.iter().map(|leg| leg.version).chain(needed).collect();
        let mut known = Known {
            runs: asked.iter().filter_map(|number| Some((*number, runs(entry, *number)?))).collect(),
            fresh: BTreeMap::new(),
            silent: BTreeSet::new(),
            before: BTreeMap::new(),
            notes: Vec::new(),
            offsets: RefCell::default(),
        };
        for (number, version) in asked.iter().filter_map(|number| Some((*number, entry.versions.get(number)?))) {
            if !self.is_here(number, version) {
                continue;
            }
            let mut before = BTreeMap::new();
            for output in version.outputs.iter().filter(|output| !output.upsert) {
                before.insert((number, output.name.clone()), self.ends(output)?);
            }
            let mut answer = self.asked(number, version);
            for _ in 0..COMMITS {
                if !matches!(answer, Ok((_, Word::Soon))) {
                    break;
                }
                std::thread::sleep(COMMIT);
                answer = self.asked(number, version);
            }
            match answer {
                Ok((standing, word)) => {
                    known.fresh.insert(number, standing);
                    known.before.extend(before.into_iter().filter(|_| word == Word::Whole));
                }
                Err(fault) if needed == Some(number) => return Err(fault),
                Err(fault) => {
                    known.silent.insert(number);
                    known.notes.push(format!("version {number} gives no answer and is taken for stopped: {fault}"));
                }
            }
        }
        Ok(known)
    }

    fn ends(&self, output: &Output) -> Result<Vec<u64>, Fault> {
        Ok(self.ledger.kept(&output.at)?.unwrap_or_default().into_iter().map(|kept| kept.end).collect())
    }

    /// Decides by an entry. `None` when that needs offsets that were not looked up, and may not be now.
    fn decided(
        &self,
        entry: &Entry,
        known: &Known,
        may_look: bool,
        decide: &mut dyn FnMut(&Entry, &mut Facts<'_>) -> Result<Decided, Fault>,
    ) -> Result<Option<Decided>, Fault> {
        let missed = Cell::new(false);
        let offsets = |output: &Output, time: Option<Timestamp>| {
            let place = (output.at.clone(), time);
            if let Some(found) = known.offsets.borrow().get(&place) {
                return Ok(found.clone());
            }
            if !may_look {
                missed.set(true);
                return Ok(Vec::new());
            }
            let found = time.map_or_else(|| self.ends(output), |time| self.ledger.find(&output.at, time))?;
            known.offsets.borrow_mut().insert(place, found.clone());
            Ok(found)
        };
        let lead = self.matches.get_one::<Duration>(id::LEAD).copied().unwrap_or_default();
        let mut facts = Facts {
            now: clock::wall(),
            lead,
            fresh: &known.fresh,
            silent: &known.silent,
            before: &known.before,
            find: &mut |output, time| offsets(output, Some(time)),
            ends: &mut |output| offsets(output, None),
        };
        let decided = decide(entry, &mut facts)?;
        Ok(Some(decided).filter(|_| !missed.get()))
    }

    /// Looks, decides under the fence by what was found, and says what came of it. `needed` must give an answer.
    fn decide(
        &self,
        needed: Option<u32>,
        mut decide: impl FnMut(&Entry, &mut Facts<'_>) -> Result<Decided, Fault>,
    ) -> Result<Exit, Fault> {
        let mut looks = 0;
        let said = loop {
            looks += 1;
            let entry = self.entry()?;
            let known = self.known(&entry, needed)?;
            let first = self.decided(&entry, &known, true, &mut decide)?;
            if flag(self.matches, id::DRY_RUN) {
                let mut said = first.map(|first| words(&entry, first, &known).1).unwrap_or_default();
                said.insert(0, "with --dry-run nothing is changed; this is what would be:".to_owned());
                break said;
            }
            crate::failpoint::hit("looked");
            let mut said = None;
            registry::change(&*self.ledger, &self.env.job, |entry| {
                said = None;
                let last = looks == LOOKS;
                if known.is_over(entry) && !last {
                    return Ok(None);
                }
                let Some(decided) = self.decided(entry, &known, last, &mut decide)? else { return Ok(None) };
                let (next, words) = words(entry, decided, &known);
                said = Some(words);
                Ok(next)
            })?;
            if let Some(said) = said {
                break said;
            }
        };
        terminal::print(&format!("{}\n", said.join("\n  ")))?;
        Ok(Exit::Finished)
    }
}

/// What a decision writes, and what people are told of it.
fn words(entry: &Entry, decided: Decided, known: &Known) -> (Option<Entry>, Vec<String>) {
    let live = |entry: &Entry| entry.live().map_or("none".to_owned(), |live| live.to_string());
    let mut said = Vec::new();
    if let Some(next) = &decided.entry {
        said.push(format!("version {} of job {} is live", live(next), entry.job));
    }
    said.extend(decided.words);
    if decided.entry.is_some() {
        said.extend_from_slice(&known.notes);
    }
    (decided.entry, said)
}
