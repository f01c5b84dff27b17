//! The command line of every job binary.
//!
//! [`main`] is all of it: `run`, `plan`, `status` and `checkpoints`, each with the job's own options beside Millpond's. Whoever builds a job
//! describes it in a [`JobMain`]; nothing here knows how a flow is drawn. Every way out is an [`Exit`]: a [`Fault`] is printed as
//! `error:` and `help:` lines on stderr and becomes its exit code. Results and summaries go to stdout, progress and diagnostics to stderr.
//!
//! - `command` and `lives` are what may be asked, `options` what the words mean.
//! - `run` starts a job and stays with it: `signals`, `progress` (drawn through `terminal`).
//! - `replay` is what a run from the beginning has more of; `check` says what can make it differ.
//! - `versions` is everything about versions of a job: the registry, and the commands that read and decide.
//! - `dead` is `dead-letters`: what could not be used, and sending it through the job again.
//! - `recorded` is what the registry keeps of the options that a version was started with.
//! - `savepoints` takes savepoints and shows them, and how one fits what is to start from it.
//! - `plan` (`tree`, `dot`), `status` (`stopped`) and `checkpoints` only look.
//! - `diagnostics` sets up `tracing` and panics; `table` and `figures` are how things are written for people.

mod check;
mod checkpoints;
mod command;
mod dead;
mod diagnostics;
mod dot;
mod figures;
mod lives;
mod options;
mod plan;
mod progress;
mod recorded;
mod replay;
mod run;
mod savepoints;
mod signals;
mod status;
mod stopped;
mod table;
mod terminal;
mod tree;
mod versions;

#[cfg(test)]
mod cli_tests;

use std::ffi::OsString;
use std::sync::Arc;

use clap::ArgMatches;
use clap::error::ErrorKind;

use crate::{Delivery, Draw, Ended, Env, Exit, Fault, Tuning};

pub use options::{parse_from, parse_span};
pub use terminal::{print, say};

/// Draws the job with the options that were given.
pub type DrawWith = Box<dyn Fn(&ArgMatches) -> Result<Arc<Draw>, Fault>>;
/// What a job does of its own before it starts.
pub type Before = Box<dyn Fn(&Env, &ArgMatches) -> Result<(), Fault>>;
/// What a job does of its own once it has ended.
pub type After = Box<dyn Fn(&Env, &ArgMatches, &Ended) -> Result<(), Fault>>;

/// A job as its command line needs it.
///
/// ```no_run
/// use std::process::ExitCode;
/// use std::sync::Arc;
/// use millpond_engine::{Draw, cli::{self, JobMain}};
///
/// #[derive(clap::Args)]
/// struct Own {
///     /// How late a flight may be
///     #[arg(long, default_value = "2h", value_parser = cli::parse_span)]
///     lateness: std::time::Duration,
/// }
///
/// fn main() -> ExitCode {
///     let mut job = JobMain::new("flights", 1, Box::new(|matches| {
///         let own = <Own as clap::FromArgMatches>::from_arg_matches(matches).expect("these matches were parsed with its options");
///         let draw: Arc<Draw> = Arc::new(move |graph, _| { let _ = (graph, own.lateness); Ok(()) });
///         Ok(draw)
///     }));
///     job.augment = <Own as clap::Args>::augment_args;
///     cli::main(&job, std::env::args_os()).into()
/// }
/// ```
pub struct JobMain {
    /// Its name; `--job` replaces it.
    pub name: String,
    /// Its version, from 1; `--job-version` replaces it.
    pub version: u32,
    /// What it does, in a sentence, for `--help`.
    pub about: String,
    /// What this build of it calls itself, for the registry of versions: a version and a commit, say. May be empty.
    pub build: String,
    /// What a crash may do to output.
    pub delivery: Delivery,
    /// Sizes.
    pub tuning: Tuning,
    /// Adds the job's own options to a command; every command of the binary has them. Each long option can also be given by environment,
    /// as `MILLPOND_<NAME>`.
    pub augment: fn(clap::Command) -> clap::Command,
    /// Draws the job with the options that were given.
    pub draw: DrawWith,
    /// Called by `run` before each start, once the plan is known to be sound: to feed a log, say. The process may be killed or left by a
    /// signal in the middle of it.
    pub before: Option<Before>,
    /// Called by `run` when the run has ended as it was asked to, was stopped, or was finished before.
    pub after: Option<After>,
    /// What is done when no arguments are given, such as `["run", "--until-end"]`; the help text when it is empty.
    pub default_args: Vec<String>,
}

impl JobMain {
    /// A job without options, hooks and default arguments, delivered exactly once.
    #[must_use]
    pub fn new(name: &str, version: u32, draw: DrawWith) -> Self {
        JobMain {
            name: name.to_owned(),
            version,
            about: String::new(),
            build: String::new(),
            delivery: Delivery::ExactlyOnce,
            tuning: Tuning::default(),
            augment: |command| command,
            draw,
            before: None,
            after: None,
            default_args: Vec::new(),
        }
    }
}

impl std::fmt::Debug for JobMain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobMain").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// Does what `args` (the binary's name first) ask of `job`. Sets up `tracing` and the panic hook for the process.
pub fn main(job: &JobMain, args: impl IntoIterator<Item = OsString>) -> Exit {
    diagnostics::install();
    let args: Vec<OsString> = args.into_iter().collect();
    let starts = args.get(1).is_none_or(|word| word == "run" || word == "replay");
    match execute(job, args) {
        Ok(exit) => exit,
        Err(fault) => {
            let advice = match fault.exit() {
                // A tool is no job that could be started again.
                Exit::Retry if !starts => "mend what the message names, then ask again",
                exit => exit.advice(),
            };
            terminal::say(&format!("error: {fault}\nhelp: {advice}"));
            fault.exit()
        }
    }
}

/// Says what clap answers instead of arguments: help and versions as they are, an error as `error:` and `help:` lines. For programs that parse
/// their arguments themselves.
///
/// ```
/// use millpond_engine::{Exit, cli};
/// let command = clap::Command::new("load").arg(clap::Arg::new("count").long("count"));
/// let words = command.try_get_matches_from(["load", "--cuont", "3"]).unwrap_err();
/// assert_eq!(cli::refused(&words), Exit::Usage);
/// // error: unexpected argument '--cuont' found
/// // help: a similar argument exists: '--count'; see load --help
/// ```
pub fn refused(words: &clap::Error) -> Exit {
    let exit = if words.use_stderr() { Exit::Usage } else { Exit::Finished };
    match words.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Where the words cannot go, the exit code still says it.
            let _ = words.print();
        }
        _ => terminal::say(&two_lines(&words.to_string())),
    }
    exit
}

/// What clap writes as paragraphs: what is wrong, tips, how the command is used.
fn two_lines(text: &str) -> String {
    let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let error = paragraphs.next().unwrap_or_default();
    let (mut tips, mut program) = (Vec::new(), String::new());
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            tips.push(tip.replace(" tip: ", "; "));
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            let names = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
            program = names.map(|name| format!("{name} ")).collect();
        }
    }
    tips.push(format!("see {program}--help"));
    format!("{error}\nhelp: {}", tips.join("; "))
}

/// As [`main`], for a process that has its own diagnostics.
fn execute(job: &JobMain, mut args: Vec<OsString>) -> Result<Exit, Fault> {
    if args.len() < 2 {
        args.truncate(1);
        args.extend(job.default_args.iter().map(OsString::from));
    }
    let matches = match command::command(job)?.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(words) => return Ok(refused(&words)),
    };
    match matches.subcommand() {
        Some(("run", matches)) => run::run(job, matches),
        Some(("replay", matches)) if options::flag(matches, options::id::CHECK) => check::check(job, matches),
        Some(("replay", matches)) => run::run(job, matches),
        Some(("plan", matches)) => plan::plan(job, matches),
        Some(("status", matches)) => status::status(job, matches),
        Some(("savepoint", matches)) => savepoints::savepoint(job, matches),
        Some(("savepoints", matches)) => match matches.subcommand() {
            Some(("show", matches)) => savepoints::show(matches),
            Some(("verify", matches)) => savepoints::verify(matches),
            Some((_, matches)) => savepoints::list(job, matches),
            None => unreachable!("clap asks for a subcommand"),
        },
        Some(("versions", matches)) => versions::list::versions(job, matches),
        Some(("compare", matches)) => versions::compare::compare(job, matches),
        Some(("promote", matches)) => versions::switch::promote(job, matches),
        Some(("rollback", matches)) => versions::switch::rollback(job, matches),
        Some(("retire", matches)) => versions::retire::retire(job, matches),
        Some(("tail", matches)) => versions::tail::tail(job, matches),
        Some(("dead-letters", matches)) => dead::run(job, matches),
        Some(("checkpoints", matches)) => match matches.subcommand() {
            Some(("verify", matches)) => checkpoints::verify(job, matches),
            Some((_, matches)) => checkpoints::list(job, matches),
            None => unreachable!("clap asks for a subcommand"),
        },
        _ => unreachable!("clap knows no other subcommand and asks for one"),
    }
}
