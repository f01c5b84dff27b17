//! What the words of the command line mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use millpond_state::Timestamp;

use super::JobMain;
use crate::source::From;
use crate::{Env, FromSavepoint, Run, Tuning};

/// Longer names would not fit into those of files and topics.
const NAME_MOST: usize = 200;
const INTERVAL_LEAST: Duration = Duration::from_millis(1);
const INTERVAL_MOST: Duration = Duration::from_hours(24);

/// A span of time such as `50ms`, `1s`, `2m`, `1h`: what every option of a job that takes one should understand.
///
/// # Errors
/// A sentence for the reader, when it is none.
///
/// ```
/// use std::time::Duration;
/// use millpond_engine::cli::parse_span;
/// assert_eq!(parse_span("50ms"), Ok(Duration::from_millis(50)));
/// assert_eq!(parse_span("2m"), Ok(Duration::from_secs(120)));
/// assert!(parse_span("12").is_err());
/// ```
pub fn parse_span(text: &str) -> Result<Duration, String> {
    // Zero needs no unit elsewhere; here every span has one, so that no number is read as the wrong unit.
    let unit = text.trim_end().ends_with(|last: char| last.is_ascii_alphabetic());
    let span = humantime::parse_duration(text).ok().filter(|_| unit);
    span.ok_or_else(|| format!("{text:?} is not a span of time like 50ms, 1s, 2m or 1h"))
}

/// Where a first start begins: `earliest`, `latest`, an RFC 3339 time, or offsets such as `0:1200,1:0`.
///
/// # Errors
/// A sentence for the reader, when it is none of these.
///
/// ```
/// use millpond_engine::{cli::parse_from, source::From};
/// assert_eq!(parse_from("0:1200,1:0"), Ok(From::Offsets(vec![(0, 1200), (1, 0)])));
/// ```
pub fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => return Ok(From::Earliest),
        "latest" => return Ok(From::Latest),
        _ => {}
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(From::Time(time));
    }
    let offset = |part: &str| {
        let (partition, offset) = part.trim().split_once(':')?;
        Some((partition.parse::<u32>().ok()?, offset.parse::<u64>().ok()?))
    };
    let offsets: Option<Vec<_>> = text.split(',').map(offset).collect();
    let Some(offsets) = offsets else {
        return Err(format!(
            "{text:?} is none of: earliest, latest, a time like 2013-01-01T10:15:00Z, offsets by partition like 0:1200,1:0"
        ));
    };
    let mut seen = std::collections::BTreeSet::new();
    match offsets.iter().find(|(partition, _)| !seen.insert(*partition)) {
        Some((partition, _)) => Err(format!("{text:?} names partition {partition} twice")),
        None => Ok(From::Offsets(offsets)),
    }
}

/// A time of event time.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

/// How often an epoch closes.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    if (INTERVAL_LEAST..=INTERVAL_MOST).contains(&span) {
        Ok(span)
    } else {
        Err(format!("{text:?} is not between 1ms and 24h"))
    }
}

/// A job's name.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // A name of dots alone would be a way out of the directory that is named after it.
    let named = text.chars().any(|c| c != '.');
    if named && text.len() <= NAME_MOST && text.chars().all(known) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name: letters, digits, '.', '_' and '-', at most {NAME_MOST} of them"))
    }
}

/// Whose state is meant, and where it lies.
pub(super) fn env(job: &JobMain, matches: &ArgMatches) -> Env {
    let name = matches.get_one::<String>(id::JOB).cloned().unwrap_or_else(|| job.name.clone());
    let state = matches.get_one::<PathBuf>(id::STATE).cloned();
    Env {
        state: state.unwrap_or_else(|| Path::new(".millpond").join(&name)),
        job: name,
        version: one(matches, id::REPLAYED).or(one(matches, id::JOB_VERSION)).unwrap_or(job.version),
        create: !flag(matches, id::NO_CREATE_TOPICS),
    }
}

/// What `run` was asked to do.
pub(super) fn run(job: &JobMain, matches: &ArgMatches) -> Run {
    Run {
        env: env(job, matches),
        workers: matches.get_one::<u32>(id::WORKERS).map_or(1, |workers| *workers as usize),
        interval: matches.get_one(id::CHECKPOINT_INTERVAL).copied().unwrap_or(Duration::from_secs(1)),
        until_end: flag(matches, id::UNTIL_END),
        from: matches.get_one(id::FROM).cloned().unwrap_or_default(),
        savepoint: matches.get_one::<PathBuf>(id::FROM_SAVEPOINT).map(|dir| FromSavepoint {
            dir: dir.clone(),
            drop: matches.get_many(id::DROP).into_iter().flatten().cloned().collect(),
        }),
        new: flag(matches, id::NEW),
        delivery: job.delivery,
        tuning: Tuning { throttle: one(matches, id::THROTTLE).or(job.tuning.throttle), ..job.tuning.clone() },
    }
}

/// The value of an option; not every command has every option.
pub(super) fn one<T: Copy + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_one(id).ok().flatten().copied()
}

/// Whether a flag is set; not every command has every flag.
pub(super) fn flag(matches: &ArgMatches, id: &str) -> bool {
    matches.try_get_one(id).ok().flatten().copied().unwrap_or(false)
}

/// What clap calls our options: never what a job's own option is called.
pub(super) mod id {
    pub(crate) const STATE: &str = "millpond.state";
    pub(crate) const JOB: &str = "millpond.job";
    pub(crate) const JOB_VERSION: &str = "millpond.job-version";
    pub(crate) const WORKERS: &str = "millpond.workers";
    pub(crate) const CHECKPOINT_INTERVAL: &str = "millpond.checkpoint-interval";
    pub(crate) const UNTIL_END: &str = "millpond.until-end";
    pub(crate) const FROM: &str = "millpond.from";
    pub(crate) const NEW: &str = "millpond.new";
    pub(crate) const METRICS: &str = "millpond.metrics";
    pub(crate) const NO_CREATE_TOPICS: &str = "millpond.no-create-topics";
    pub(crate) const JSON: &str = "millpond.json";
    pub(crate) const DOT: &str = "millpond.dot";
    pub(crate) const CHECKPOINT: &str = "millpond.checkpoint";
    pub(crate) const REPLAYED: &str = "millpond.replayed";
    pub(crate) const UNTIL_CAUGHT_UP: &str = "millpond.until-caught-up";
    pub(crate) const THROTTLE: &str = "millpond.throttle";
    pub(crate) const FROM_OLDEST: &str = "millpond.from-oldest";
    pub(crate) const DIR: &str = "millpond.dir";
    pub(crate) const FROM_SAVEPOINT: &str = "millpond.from-savepoint";
    pub(crate) const DROP: &str = "millpond.drop";
    pub(crate) const CHECK: &str = "millpond.check";
    pub(crate) const VERSION: &str = "millpond.number";
    pub(crate) const LEAVE: &str = "millpond.leave";
    pub(crate) const FIRST: &str = "millpond.first";
    pub(crate) const OF_VERSION: &str = "millpond.version";
    pub(crate) const LIVE: &str = "millpond.live";
    pub(crate) const ONLY: &str = "millpond.only";
    pub(crate) const OUTPUT: &str = "millpond.output";
    pub(crate) const FOLLOW: &str = "millpond.follow";
    pub(crate) const YES: &str = "millpond.yes";
    pub(crate) const DRY_RUN: &str = "millpond.dry-run";
    pub(crate) const LEAD: &str = "millpond.lead";
    pub(crate) const MAX_LAG: &str = "millpond.max-lag";
    pub(crate) const COMPARED_WITHIN: &str = "millpond.compared-within";
    pub(crate) const UNCOMPARED: &str = "millpond.uncompared";
    pub(crate) const TOLERANCE: &str = "millpond.tolerance";
    pub(crate) const EXPECT: &str = "millpond.expect";
    pub(crate) const SINCE: &str = "millpond.since";
    pub(crate) const UNTIL: &str = "millpond.until";
    pub(crate) const SCRATCH: &str = "millpond.scratch";
    pub(crate) const MEMORY_MIB: &str = "millpond.memory-mib";
    pub(crate) const IDS: &str = "millpond.ids";
    pub(crate) const ALL: &str = "millpond.all";
    pub(crate) const TOPIC: &str = "millpond.topic";
    pub(crate) const PARTITION: &str = "millpond.partition";
    pub(crate) const OFFSET: &str = "millpond.offset";
    pub(crate) const ERROR: &str = "millpond.error";
    pub(crate) const STATUS: &str = "millpond.status";
    pub(crate) const LIMIT: &str = "millpond.limit";
    pub(crate) const SAMPLES: &str = "millpond.samples";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(parse_span("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_span("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(parse_span("0s"), Ok(Duration::ZERO));
        for text in ["", "1", "0", "s", "-1s", "1,5s", "1 fortnight", "99999999999999999999s"] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_interval_is_neither_nothing_nor_for_ever() {
        assert_eq!(parse_interval("50ms"), Ok(Duration::from_millis(50)));
        assert!(parse_interval("0s").is_err());
        assert!(parse_interval("1us").is_err());
        assert!(parse_interval("1000years").is_err());
    }

    #[test]
    fn a_start_is_a_word_a_time_or_offsets() {
        assert_eq!(parse_from("earliest"), Ok(From::Earliest));
        assert_eq!(parse_from("latest"), Ok(From::Latest));
        let time = Timestamp::parse("2013-01-01T10:15:00Z").unwrap();
        assert_eq!(parse_from("2013-01-01T12:15:00+02:00"), Ok(From::Time(time)));
        assert_eq!(parse_from("3:18446744073709551615"), Ok(From::Offsets(vec![(3, u64::MAX)])));
        assert_eq!(parse_from("0:1, 1:2"), Ok(From::Offsets(vec![(0, 1), (1, 2)])));
        for text in ["", "Latest", "0", "0:", ":1", "0:1,", "0:-1", "4294967296:0", "2013-01-01", "0:1;1:2"] {
            let refused = parse_from(text).unwrap_err();
            assert!(refused.contains("none of: earliest, latest, a time"), "{refused}");
        }
        assert_eq!(parse_from("1:5,0:0,1:6").unwrap_err(), "\"1:5,0:0,1:6\" names partition 1 twice");
    }

    #[test]
    fn a_name_cannot_lead_out_of_its_directory() {
        for name in ["flights", "page-views.v2", "A_1", "..x"] {
            assert_eq!(parse_name(name).as_deref(), Ok(name));
        }
        let long = "x".repeat(NAME_MOST + 1);
        for name in ["", ".", "..", "a/b", "a@1", "a b", "ä", "a\n", &long] {
            assert!(parse_name(name).is_err(), "{name:?}");
        }
    }
}
