//! `retire`: a version stops, and everything it owned goes: outputs, group or writer, state, and last of all its entry.
//!
//! The order can be broken off anywhere and gone on with. First the registry says that it is being retired: from then on it never starts
//! again, and nobody promotes it. What is gone already is let alone. The entry goes last, so that asking again knows what to do.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use clap::ArgMatches;
use millpond_state::Timestamp;

use super::{Job, standing};
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, dead, recorded, terminal};
use crate::control::ask;
use crate::ledger::Doomed;
use crate::registry::{self, Entry, Version};
use crate::run::hold::{directory, is_held};
use crate::{Exit, Fault, clock};

/// How long a job may take to stop.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::cli) fn retire(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let number: u32 = *matches.get_one(id::VERSION).expect("clap asks for it");
    let entry = job.entry()?;
    let who = format!("version {number} of job {}", entry.job);
    if entry.retired.contains(&number) {
        terminal::print(&format!("{who} was retired before; nothing is left of it\n"))?;
        return Ok(Exit::Finished);
    }
    let known = entry.version(number)?.clone();
    entry.retire(number)?;
    let env = job.at(number);
    let here = known.home == standing::home(&env);
    let at_rest = |version: &Version| match here || !version.is_heard_of(clock::wall()) {
        true => Ok(()),
        false => {
            let home = &version.home;
            let text = format!("{who} keeps its state in {home} and runs there; stop it, or retire it there");
            Err(Fault::new(Exit::Refused, text))
        }
    };
    at_rest(&known)?;
    let topics: Vec<String> = known.outputs.iter().map(|output| output.at.clone()).collect();
    // What was asked of its dead letters, if anything ever was.
    let requests = job.ledger.kept(&env.redrive())?.map(|_| env.redrive());
    let named: Vec<_> = topics.iter().chain(&requests).map(String::as_str).collect();
    let state = if here { env.home().display().to_string() } else { "no state, which is not here".to_owned() };
    let mut what = format!("{who}: topics {} in {}, and {state}", named.join(", "), job.ledger.name());
    let lost = lost(&entry, number);
    if !lost.is_empty() {
        what.push_str(&format!(
            "; no other version has {}, since those that are left began with a savepoint or later in the log",
            lost.join(", ")
        ));
    }
    // A build that cannot be drawn as that version knows nothing of its letters.
    let left = match recorded::draw_as(main, matches, &env, &known.options) {
        Ok(draw) => dead::left_in_words(matches, &env, &draw),
        Err(fault) => {
            Some(format!("how many dead letters of {who} have not gone through again is not known ({fault})"))
        }
    };
    if let Some(left) = left.filter(|_| !known.retiring) {
        what.push_str(&format!("; {left}, and what they hold is lost to it"));
    }
    if flag(matches, id::DRY_RUN) {
        terminal::print(&format!("with --dry-run nothing is changed; this would delete for good {what}\n"))?;
        return Ok(Exit::Finished);
    }
    if !flag(matches, id::YES) && !terminal::agreed(&format!("this deletes for good {what}"))? {
        return Err(Fault::new(
            Exit::Refused,
            format!("{who} was not retired: nobody said yes; --yes says it beforehand"),
        ));
    }
    // Whoever makes a topic of that name while this is broken off has made another one.
    let mut ids = BTreeMap::new();
    for topic in &topics {
        ids.extend(job.ledger.id(topic)?.map(|id| (topic.clone(), id)));
    }
    let mut doomed = Vec::new();
    registry::change(&*job.ledger, &job.env.job, |entry: &Entry| {
        if let Some(version) = entry.versions.get(&number).filter(|version| version.retiring) {
            doomed = version.doomed();
        }
        if entry.versions.get(&number).is_some_and(|version| version.retiring) || entry.retired.contains(&number) {
            return Ok(None);
        }
        // It may have been started elsewhere while somebody thought about the question.
        let now = entry.version(number)?;
        if now.home != known.home {
            let text = format!("{who} was started meanwhile and keeps its state in {}; ask again", now.home);
            return Err(Fault::new(Exit::Refused, text));
        }
        at_rest(now)?;
        let next = entry.retire(number)?.doomed(number, &ids);
        doomed = next.version(number)?.doomed();
        Ok(Some(next))
    })?;
    crate::failpoint::hit("retiring");
    if here {
        stop(&job, number)?;
    }
    // Whoever starts it now, having looked before, finds its directory taken until all is gone.
    let _held = (here && env.home().exists()).then(|| directory(&env.home())).transpose()?;
    crate::failpoint::hit("retire stopped");
    job.ledger.delete(&env.identity(), &doomed)?;
    job.ledger.delete(&env.redriver(), &[Doomed { topic: env.redrive(), id: None }])?;
    crate::failpoint::hit("retire outputs");
    if here {
        match fs::remove_dir_all(env.home()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("cannot remove {}; ask again to go on", env.home().display());
                return Err(Fault::new(Exit::Retry, text).because(error));
            }
            _ => {}
        }
    }
    crate::failpoint::hit("retire state");
    registry::change(&*job.ledger, &job.env.job, |entry: &Entry| {
        Ok(entry.versions.contains_key(&number).then(|| entry.retired(number)))
    })?;
    terminal::print(&format!("retired {what}\n"))?;
    Ok(Exit::Finished)
}

/// Rows that only this version has, because the others began with a savepoint, or not with the oldest record of the log.
fn lost(entry: &Entry, number: u32) -> Vec<String> {
    let Some(known) = entry.versions.get(&number) else { return Vec::new() };
    let outputs = known.outputs.iter().filter(|output| !output.upsert).filter_map(|output| {
        let others = || {
            let others = entry.versions.iter().filter(|(other, _)| **other != number);
            others.filter(|(other, _)| entry.output(**other, &output.name).is_some())
        };
        let whole = |version: &Version| version.from == "earliest" || version.from.starts_with("savepoint");
        if whole(known) && others().next().is_some() && !others().any(|(_, version)| whole(version)) {
            let began: Vec<_> = others().map(|(other, version)| format!("version {other}: {}", version.from)).collect();
            return Some(format!("rows of {} from before they began ({})", output.name, began.join(", ")));
        }
        let others = others();
        let since =
            others.filter_map(|(other, version)| Some(version.reached(entry.output(*other, &output.name)?).since));
        let least = since.min().filter(|since| *since > known.reached(output).since)?;
        Some(match least {
            Timestamp::MAX => format!("{} whole", output.name),
            least => format!("rows of {} before {least}", output.name),
        })
    });
    outputs.collect()
}

/// Stops the job if it runs, and waits until its lock is free.
fn stop(job: &Job<'_>, number: u32) -> Result<(), Fault> {
    let env = job.at(number);
    let begun = clock::instant();
    // Asked once: a second time would have it leave without committing.
    ask(&env.home(), "stop")?;
    while is_held(&env.home())? {
        if clock::instant().saturating_duration_since(begun) > PATIENCE {
            return Err(Fault::new(
                Exit::Retry,
                format!("{} was told to stop and still runs; ask again to go on", env.identity()),
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
