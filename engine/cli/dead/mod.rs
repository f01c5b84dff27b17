//! `dead-letters`: what could not be used, and what is to become of it.
//!
//! The letters lie in the topic that the job writes them to, what was asked of them in a topic of the tools beside it, and how far the job
//! has taken that is in its checkpoint. These commands read the three, and append to the second; they need no running job.
//!
//! - `args` is what may be asked, `choose` which letters are meant.
//! - `desk` reads, `stands` is how the job stands to what was asked; `list` and `show` say; `ask` is `redrive` and `drop`.

mod args;
mod ask;
mod choose;
mod desk;
mod list;
mod show;
mod stands;

use std::sync::Arc;

use clap::ArgMatches;
use millpond_state::Timestamp;
use serde_json::{Value, json};

use super::{JobMain, figures};
use crate::redrive::{Letter, LetterId, Mark, Marks};
use crate::run::start::drawn;
use crate::{Draw, Env, Exit, Fault};

pub(super) use args::command;
use desk::{Desk, Requests};
use stands::Stands;

pub(super) fn run(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let (command, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let desk = Desk::of(main, matches)?;
    match command {
        "list" => list::list(&desk),
        "show" => show::show(&desk),
        "redrive" => ask::redrive(&desk),
        "drop" => ask::drop_letters(&desk),
        _ => unreachable!("clap knows no other subcommand"),
    }
}

/// How many dead letters of a version have not gone through again: they are open, or asked for and not yet taken. `None` where it keeps
/// none, or nobody can read them.
///
/// # Errors
/// When they cannot be read just now.
pub(super) fn left(matches: &ArgMatches, env: &Env, draw: &Arc<Draw>) -> Result<Option<u64>, Fault> {
    if drawn(&**draw, env)?.dead().is_none_or(|(_, system)| system.ledger().is_none()) {
        return Ok(None);
    }
    let desk = Desk::open(matches, env.clone(), Arc::clone(draw))?;
    let stands = desk.stands()?;
    let (Requests { marks, .. }, letters) = desk.known(&stands, "")?;
    let mut left = 0;
    desk.letters(&stands, &letters, &marks, &mut |letter| {
        left += u64::from(matches!(marks.of(letter, &stands.reach), Mark::Open | Mark::Asked));
        Ok(())
    })?;
    Ok(Some(left))
}

/// The same in words, for a sentence to go on with; `None` when there are none. Where they cannot be read the words say that: who saves or
/// retires a version is not held up by it.
pub(super) fn left_in_words(matches: &ArgMatches, env: &Env, draw: &Arc<Draw>) -> Option<String> {
    let of = env.identity();
    match left(matches, env, draw) {
        Ok(None | Some(0)) => None,
        Ok(Some(1)) => Some(format!("1 dead letter of {of} has not gone through again")),
        Ok(Some(left)) => Some(format!("{} dead letters of {of} have not gone through again", figures::count(left))),
        Err(fault) => Some(format!("how many dead letters of {of} have not gone through again is not known ({fault})")),
    }
}

/// How a letter stands, for people.
fn standing(mark: Mark) -> String {
    match mark {
        Mark::Done(Some(epoch)) => format!("done in epoch {epoch}"),
        Mark::FailedAgain(next) => format!("failed again: {next}"),
        mark => mark.name().to_owned(),
    }
}

/// A letter for programs.
fn object(desk: &Desk<'_>, letter: &Letter, mark: Mark, again: &[LetterId]) -> Value {
    let dead = &letter.dead;
    let again: Vec<_> = again.iter().map(LetterId::to_string).collect();
    let (epoch, next) = match mark {
        Mark::Done(epoch) => (epoch, None),
        Mark::FailedAgain(next) => (None, Some(next.to_string())),
        _ => (None, None),
    };
    json!({
        "id": letter.id.to_string(), "status": mark.name(), "done_in_epoch": epoch, "followed_by": next,
        "source": dead.source, "topic": desk.topic_of(&dead.source), "partition": dead.partition, "offset": dead.offset,
        "timestamp": stamp(letter.at), "step": dead.step, "error": dead.error, "first_error": letter.first_error(),
        "attempt": dead.attempt, "was": dead.letter, "again": again, "whole": dead.whole, "epoch": letter.epoch,
        "key": dead.key.as_deref().map(String::from_utf8_lossy), "bytes": dead.value.as_ref().map_or(0, Vec::len),
    })
}

/// What to know of all letters.
fn notes(stands: &Stands, marks: &Marks) -> Vec<String> {
    let mut notes: Vec<String> = stands.note.iter().cloned().collect();
    if marks.repeats() > 0 {
        let count = figures::count(marks.repeats() as u64);
        notes.push(format!("{count} letters were written twice, when a run died before its commit, and count once"));
    }
    if let Some((count, first)) = marks.others() {
        let count = figures::count(count);
        notes.push(format!(
            "{count} requests name letters that are others by now, as where the topic was made again under its name, and mark none: \
             the first is {first}"
        ));
    }
    notes
}

fn stamp(at: Timestamp) -> Option<String> {
    (at != Timestamp::MIN).then(|| at.to_string())
}
