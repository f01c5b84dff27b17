//! The job's own options as a version's `run` had them, which the registry keeps: whoever asks about a version need not give them again.
//!
//! What may be a secret is not kept, and must be given to every command: whatever hides itself or its value in `--help` (`hide`,
//! `hide_env_values`) or has an environment variable of its own, as the options of a cluster do; whatever is called a password, secret, token,
//! credential or api-key; and addresses with a password in them.
//!
//! What was kept counts as a default does: it is in nobody's way, and what is given counts before it.

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

/// Whether nobody else may see it.
fn is_secret(arg: &Arg) -> bool {
    let name = arg.get_long().unwrap_or_default();
    let named = ["password", "passwd", "secret", "token", "credential", "api-key", "apikey"];
    arg.is_hide_set()
        || arg.is_hide_env_values_set()
        || arg.get_env().is_some()
        || named.iter().any(|part| name.contains(part))
}

/// `scheme://user:password@host`.
fn holds_password(value: &str) -> bool {
    let authority = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// What the registry is to keep of the options of this `run`; of a flag that is set, one empty value.
pub(super) fn of_run(job: &JobMain, matches: &ArgMatches) -> Options {
    let mut kept = Options::new();
    for arg in own(job).get_arguments().filter(|arg| !is_secret(arg)) {
        let Some(long) = arg.get_long() else { continue };
        let id = arg.get_id().as_str();
        let values: Option<Vec<_>> = match arg.get_action() {
            ArgAction::SetTrue => Some(vec![String::new(); usize::from(matches.get_flag(id))]),
            ArgAction::Set | ArgAction::Append => {
                let raw = matches.get_raw(id).into_iter().flatten();
                raw.map(|value| value.to_str().filter(|value| !holds_password(value)).map(str::to_owned)).collect()
            }
            _ => None,
        };
        kept.extend(values.filter(|values| !values.is_empty()).map(|values| (long.to_owned(), values)));
    }
    kept
}

/// The words by which an option was given.
fn words(matches: &ArgMatches, arg: &Arg) -> Vec<OsString> {
    let id = arg.get_id().as_str();
    let short = || arg.get_short().map(|short| format!("-{short}"));
    let name = arg.get_long().map(|long| format!("--{long}")).or_else(short);
    if let ArgAction::Count | ArgAction::SetTrue | ArgAction::SetFalse = arg.get_action() {
        let times = match arg.get_action() {
            ArgAction::Count => matches.get_count(id),
            ArgAction::SetTrue => u8::from(matches.get_flag(id)),
            _ => u8::from(!matches.get_flag(id)),
        };
        return vec![OsString::from(name.unwrap_or_default()); times.into()];
    }
    let mut words = Vec::new();
    for occurrence in matches.get_raw_occurrences(id).into_iter().flatten() {
        let mut values: Vec<_> = occurrence.map(std::ffi::OsStr::to_owned).collect();
        match &name {
            Some(name) if values.len() == 1 && name.starts_with("--") => {
                let mut word = OsString::from(format!("{name}="));
                word.push(values.remove(0));
                words.push(word);
            }
            name => {
                words.extend(name.as_ref().map(OsString::from));
                words.extend(values);
            }
        }
    }
    words
}

/// The options that are given, and those that are not as `recorded`.
fn with(job: &JobMain, matches: &ArgMatches, recorded: &Options) -> Result<ArgMatches, clap::Error> {
    let own = own(job);
    let given = |arg: &&Arg| {
        matches.value_source(arg.get_id().as_str()).is_some_and(|source| source != ValueSource::DefaultValue)
    };
    let words: Vec<_> = own.get_arguments().filter(given).flat_map(|arg| words(matches, arg)).collect();
    let own = own.mut_args(|arg| {
        let Some(values) = arg.get_long().and_then(|long| recorded.get(long)).cloned() else { return arg };
        match arg.get_action() {
            ArgAction::SetTrue => arg.default_value("true"),
            ArgAction::Set | ArgAction::Append => arg.required(false).default_values(values),
            _ => arg,
        }
    });
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
    match entry.as_ref().and_then(|entry| entry.versions.get(&env.version)) {
        Some(version) => draw_as(job, matches, env, &version.options),
        None => Ok(draw),
    }
}

/// The same, for whoever knows already what the registry has of the version.
///
/// # Errors
/// As [`draw`].
pub(super) fn draw_as(job: &JobMain, matches: &ArgMatches, env: &Env, recorded: &Options) -> Result<Arc<Draw>, Fault> {
    let matches = with(job, matches, recorded).map_err(|refused| {
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
        #[arg(long, default_value = "clicks", conflicts_with = "all")]
        input: String,
        #[arg(long)]
        also: Vec<String>,
        #[arg(long)]
        bots: bool,
        #[arg(long = "no-late", action = ArgAction::SetFalse)]
        late: bool,
        #[arg(short, action = ArgAction::Count)]
        loud: u8,
        #[arg(long, num_args = 2)]
        span: Vec<u32>,
        #[arg(long)]
        all: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
        #[arg(long, hide_env_values = true)]
        hidden: Option<String>,
        #[arg(long)]
        api_key: Option<String>,
        #[arg(long)]
        store: Option<String>,
    }

    fn job() -> JobMain {
        let mut job = JobMain::new("views", 1, Box::new(|_| unreachable!("nothing is drawn here")));
        job.augment = Own::augment_args;
        job
    }

    fn given(words: &str) -> ArgMatches {
        own(&job()).try_get_matches_from(words.split_whitespace()).unwrap()
    }

    fn merged(given: &ArgMatches, kept: &Options) -> Own {
        <Own as clap::FromArgMatches>::from_arg_matches(&with(&job(), given, kept).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_given_is_as_it_was_and_what_is_given_counts() {
        let run = given("--input in --also a --also=b,c --bots --span 3 4");
        let kept = of_run(&job(), &run);
        let words: Vec<_> = kept.iter().map(|(name, values)| format!("{name} {}", values.join("+"))).collect();
        assert_eq!(words, ["also a+b,c", "bots ", "input in", "span 3+4"]);
        let own = merged(&given("--also d --limit 7 --no-late -ll"), &kept);
        assert_eq!((own.input.as_str(), own.bots, own.late, own.loud), ("in", true, false, 2));
        assert_eq!((own.also, own.span, own.limit), (vec!["d".to_owned()], vec![3, 4], Some(7)));
        // A default that was kept is in the way of nothing.
        let kept = of_run(&job(), &given("--all x"));
        assert_eq!(kept["input"], ["clicks"]);
        let own = merged(&given(""), &kept);
        assert_eq!((own.input.as_str(), own.all.as_deref()), ("clicks", Some("x")));
        assert_eq!(merged(&given("--span 1 2"), &kept).span, [1, 2]);
        // What a version had that this build does not know is nothing to it; what it cannot take is said.
        assert!(with(&job(), &given(""), &Options::from([("gone".into(), vec!["x".into()])])).is_ok());
        assert!(with(&job(), &given(""), &Options::from([("limit".into(), vec!["x".into()])])).is_err());
    }

    #[test]
    fn no_secret_is_kept() {
        let run = given("--hidden a --api-key b --store db://me:word@host/x --all ok");
        let kept = of_run(&job(), &run);
        assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["all", "input"]);
        let own = merged(&run, &kept);
        assert_eq!((own.hidden.as_deref(), own.api_key.as_deref()), (Some("a"), Some("b")));
        assert_eq!(own.store.as_deref(), Some("db://me:word@host/x"));
        assert!(!holds_password("https://host/a@b") && !holds_password("a@b"));
    }
}
