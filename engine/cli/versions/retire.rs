//! `retire`: a version stops, and everything it owned goes: outputs, group or writer, state, and last of all its entry.
//!
//! The order can be broken off anywhere and gone on with. First the registry says that it is being retired: from then on it never starts
//! again, and nobody promotes it. What is gone already is let alone. The entry goes last, so that asking again knows what to do.

use std::fs;
use std::time::Duration;

use clap::ArgMatches;
use millpond_state::Timestamp;

use super::{Job, standing};
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, dead, terminal};
use crate::control::ask;
use crate::registry::{self, Entry, State};
use crate::run::hold::is_held;
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
    if !here && known.standing.state != State::Finished && known.standing.state != State::Stopped {
        return Err(Fault::new(
            Exit::Refused,
            format!("{who} keeps its state in {} and may run there; stop it, or retire it there", known.home),
        ));
    }
    let topics: Vec<String> = known.outputs.iter().map(|output| output.at.clone()).collect();
    // What was asked of its dead letters, if anything ever was.
    let requests = job.ledger.kept(&env.redrive())?.map(|_| env.redrive());
    let named: Vec<_> = topics.iter().chain(&requests).map(String::as_str).collect();
    let state = if here { env.home().display().to_string() } else { "no state, which is not here".to_owned() };
    let mut what = format!("{who}: topics {} in {}, and {state}", named.join(", "), job.ledger.name());
    let lost = lost(&entry, number);
    if !lost.is_empty() {
        what.push_str(&format!(
            "; no other version has {}, since those that are left began with a savepoint",
            lost.join(", ")
        ));
    }
    // A build that cannot be drawn as that version knows nothing of its letters.
    let draw = (main.draw)(matches)?;
    if let Some(left) = dead::left_in_words(matches, &env, &draw).filter(|_| !known.retiring) {
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
    registry::change(&*job.ledger, &job.env.job, |entry: &Entry| {
        if entry.versions.get(&number).is_some_and(|version| version.retiring) || entry.retired.contains(&number) {
            return Ok(None);
        }
        entry.retire(number).map(Some)
    })?;
    crate::failpoint::hit("retiring");
    if here {
        stop(&job, number)?;
    }
    crate::failpoint::hit("retire stopped");
    job.ledger.delete(&env.identity(), &topics)?;
    job.ledger.delete(&env.redriver(), &[env.redrive()])?;
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

/// Rows that only this version has, because the others began with a savepoint.
fn lost(entry: &Entry, number: u32) -> Vec<String> {
    let Some(known) = entry.versions.get(&number) else { return Vec::new() };
    let outputs = known.outputs.iter().filter(|output| !output.upsert).filter_map(|output| {
        let others = entry.versions.iter().filter(|(other, _)| **other != number);
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
