//! The job's own options as a version's `run` had them, which the registry keeps: whoever asks about a version need not give them again.
//!
//! Those that may hold a secret are not kept: whatever hides its value in `--help` (`hide_env_values`), as the options of a cluster do, and
//! must be given to every command.

use std::ffi::OsString;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{JobMain, versions};
use crate::registry::{self, Options};
use crate::{Draw, Env, Exit, Fault};

/// The job's own options, without Millpond's.
fn own(job: &JobMain) -> Command {
    (job.augment)(Command::new("own").no_binary_name(true))
}

/// What was given for one of the job's own options, or is so without being given; a flag that is set has one empty value.
fn values(matches: &ArgMatches, arg: &Arg) -> Vec<OsString> {
    let id = arg.get_id().as_str();
    match arg.get_action() {
        ArgAction::SetTrue if matches.get_flag(id) => vec![OsString::new()],
        ArgAction::Set | ArgAction::Append => {
            matches.get_raw(id).into_iter().flatten().map(std::ffi::OsStr::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// What the registry is to keep of the options of this `run`.
pub(super) fn of_run(job: &JobMain, matches: &ArgMatches) -> Options {
    let mut kept = Options::new();
    for arg in own(job).get_arguments().filter(|arg| !arg.is_hide_env_values_set()) {
        let Some(long) = arg.get_long() else { continue };
        let values: Option<Vec<_>> = values(matches, arg).into_iter().map(|value| value.into_string().ok()).collect();
        kept.extend(values.filter(|values| !values.is_empty()).map(|values| (long.to_owned(), values)));
    }
    kept
}

/// The options that are given, and those that are not as `recorded`.
fn with(job: &JobMain, matches: &ArgMatches, recorded: &Options) -> Result<ArgMatches, clap::Error> {
    let own = own(job);
    let mut words = Vec::new();
    for arg in own.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let given =
            matches.value_source(arg.get_id().as_str()).is_some_and(|source| source != ValueSource::DefaultValue);
        let values = match recorded.get(long) {
            Some(recorded) if !given => recorded.iter().map(OsString::from).collect(),
            _ if given => values(matches, arg),
            _ => continue,
        };
        for value in values {
            let mut word = OsString::from(format!("--{long}"));
            if !matches!(arg.get_action(), ArgAction::SetTrue) {
                word.push("=");
                word.push(value);
            }
            words.push(word);
        }
    }
    own.try_get_matches_from(words)
}

/// Draws the job as a version of it runs, by what is given and what the registry knows. Where there is none, or it cannot be read, by what is
/// given.
///
/// # Errors
/// When the job cannot be drawn so.
pub(super) fn draw(job: &JobMain, matches: &ArgMatches, env: &Env) -> Result<Arc<Draw>, Fault> {
    let draw = (job.draw)(matches)?;
    let Some(ledger) = versions::ledger(&*draw, env)? else { return Ok(draw) };
    let entry = match registry::look(&*ledger, &env.job) {
        Err(fault) if fault.exit() == Exit::Retry => return Err(fault),
        entry => entry.ok().flatten(),
    };
    let Some(version) = entry.as_ref().and_then(|entry| entry.versions.get(&env.version)) else { return Ok(draw) };
    let matches = with(job, matches, &version.options).map_err(|refused| {
        let words = refused.to_string();
        let why = words.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let text = format!("this build refuses an option that {} was started with: {why}; give it", env.identity());
        Fault::new(Exit::Usage, text)
    })?;
    (job.draw)(&matches)
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[derive(clap::Args)]
    struct Own {
        #[arg(long, default_value = "clicks")]
        input: String,
        #[arg(long)]
        also: Vec<String>,
        #[arg(long)]
        bots: bool,
        #[arg(long)]
        limit: Option<u32>,
        #[arg(long, hide_env_values = true)]
        password: Option<String>,
    }

    fn job() -> JobMain {
        let mut job = JobMain::new("views", 1, Box::new(|_| unreachable!("nothing is drawn here")));
        job.augment = Own::augment_args;
        job
    }

    fn given(words: &str) -> ArgMatches {
        own(&job()).try_get_matches_from(words.split_whitespace()).unwrap()
    }

    #[test]
    fn what_is_not_given_is_as_it_was_and_what_is_given_counts() {
        let run = given("--input in --also a --also=b,c --bots --password secret");
        let kept = of_run(&job(), &run);
        let words: Vec<_> = kept.iter().map(|(name, values)| format!("{name} {}", values.join("+"))).collect();
        assert_eq!(words, ["also a+b,c", "bots ", "input in"], "no secret, and nothing that was left out");
        let both = with(&job(), &given("--also d --limit 7"), &kept).unwrap();
        let own = <Own as clap::FromArgMatches>::from_arg_matches(&both).unwrap();
        assert_eq!((own.input.as_str(), own.bots, own.limit), ("in", true, Some(7)));
        assert_eq!((own.also, own.password), (vec!["d".to_owned()], None));
        // What a version had that this build does not know is nothing to it; what it cannot take is said.
        assert!(with(&job(), &given(""), &Options::from([("gone".into(), vec!["x".into()])])).is_ok());
        assert!(with(&job(), &given(""), &Options::from([("limit".into(), vec!["x".into()])])).is_err());
    }
}
