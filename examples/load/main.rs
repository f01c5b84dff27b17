//! Writes made-up clicks to a topic of Kafka or of an embedded log, for `page_views` and `relay` to read: as many and as fast as asked for.
//!
//! It is a plain producer and no job. `cargo run --release --example load -- --brokers localhost:9092` writes 100,000 clicks;
//! docs/load.md tells the rest.

mod clicks;
mod feed;
mod place;
mod topic;
mod writer;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser};
use millpond::engine::cli::{parse_span, refused};
use millpond::{Fault, Timestamp, partition_of, print, say};

use clicks::{Click, Clicks};
use place::Place;

/// Writes made-up clicks to a topic of Kafka or of an embedded log: the same ones for the same seed
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Options {
    /// The brokers: host:port, several separated by commas
    #[arg(long, env = "MILLPOND_BROKERS", default_value = "localhost:9092")]
    brokers: String,
    /// A setting of librdkafka; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    kafka: Vec<String>,
    /// Write to the embedded log in this directory instead: `page_views` looks for it as `log` in its state directory
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The topic to write to
    #[arg(long, default_value = "clicks")]
    topic: String,
    /// How many partitions the topic gets where it does not exist yet
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// How many clicks to write
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// How many a second; as fast as the broker takes them without it
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Leave out so many clicks at the beginning, which an earlier run has written
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// Other clicks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many pages are clicked on
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pages: u32,
    /// Event time of the first click
    #[arg(long, value_name = "TIME", default_value = "2023-11-14T22:13:20Z", value_parser = time)]
    start: Timestamp,
    /// How much event time the clicks of one run cover
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
    span: Duration,
    /// A click's event time is when it is written, and --start, --span and --out-of-order do not count
    #[arg(long)]
    live: bool,
    /// How far behind the newest click one may lie
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = parse_span)]
    out_of_order: Duration,
    /// The share of clicks that lie one to three minutes further back
    #[arg(long, value_name = "SHARE", default_value_t = 0.001, value_parser = share)]
    late: f64,
    /// Every so many records, write one that is no click: it lacks its `dwell`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    garbage: Option<u64>,
    /// Write in transactions of so many clicks
    #[arg(long, value_name = "CLICKS", value_parser = clap::value_parser!(u64).range(1..))]
    transaction: Option<u64>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number between 0 and 1"))
}

/// What the command line and the environment say. Jobs have options of the same names that mean something else (`--late` is a topic of
/// `page_views`), so the variables of this program begin with its name.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    let named = |arg: Arg| match arg.get_long() {
        Some(long) if arg.get_env().is_none() => {
            let name = format!("MILLPOND_LOAD_{}", long.to_uppercase().replace('-', "_"));
            let arg = arg.env(name).hide_env_values(true);
            // As switches of jobs: anything but a no is a yes.
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                arg.value_parser(FalseyValueParser::new())
            } else {
                arg
            }
        }
        _ => arg,
    };
    Options::from_arg_matches(&Options::command().mut_args(named).try_get_matches_from(args)?)
}

fn main() -> ExitCode {
    let options = match parse(std::env::args_os()) {
        Ok(options) => options,
        Err(words) => return refused(&words).into(),
    };
    match load(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            say(&format!("error: {fault}\nhelp: what the message names must be mended; clicks that were written stay"));
            fault.exit().into()
        }
    }
}

fn load(options: &Options) -> Result<(), Fault> {
    let clicks = Clicks {
        seed: options.seed,
        pages: options.pages,
        start_ms: options.start.micros() / 1_000,
        gap_us: options.span.as_micros() as u64 / options.count.max(1),
        out_of_order_ms: options.out_of_order.as_millis() as i64,
        late: options.late,
    };
    let mut place = Place::open(options)?;
    let partitions = place.partitions();
    let began = Instant::now();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for written in 0..options.count {
        if let Some(early) = options.rate.and_then(|rate| early(began, written, rate)) {
            place.pause(early)?;
        }
        let number = options.skip + written;
        let click = clicks.click(number);
        let click = if options.live { Click { at: now_ms(), ..click } } else { click };
        key.clear();
        value.clear();
        click.put_key(&mut key);
        if options.garbage.is_some_and(|every| (number + 1).is_multiple_of(every)) {
            put_garbage(&click, &mut value);
        } else {
            click.put_value(&mut value);
        }
        place.write(partition_of(&key, partitions), Timestamp::from_millis(click.at), &key, &value)?;
    }
    place.finish()?;
    let Options { brokers, topic, count, log, .. } = options;
    let rate = *count as f64 / began.elapsed().as_secs_f64();
    let log = log.as_ref().map(|dir| dir.display());
    let at = log.as_ref().map_or_else(|| format!("at {brokers}"), |dir| format!("of the log in {dir}"));
    let written = format!("{count} clicks written to topic {topic} ({partitions} partitions) {at}, {rate:.0} a second");
    let state = options.log.as_ref().and_then(|dir| dir.parent()).map(|state| state.display());
    let place = state.map_or_else(|| format!("--brokers {brokers}"), |state| format!("--state {state}"));
    let next = format!("try next: cargo run --release --example page_views -- run {place} --input {topic} --until-end");
    print(&format!("{written}\n{next}\n"))
}

/// What a client that forgot something sends.
fn put_garbage(Click { user, page, at, .. }: &Click, out: &mut Vec<u8>) {
    write!(out, r#"{{"user":"u{user}","page":"p{page}","at":{at}}}"#).expect("a vector takes everything");
}

/// How long it is until the click of this number is due. What was missed is made up for.
fn early(began: Instant, number: u64, rate: u32) -> Option<Duration> {
    let due = Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(rate)) as u64);
    // A sleep is never shorter than some 60 microseconds; below that, clicks go out in small bursts.
    due.checked_sub(began.elapsed()).filter(|early| *early > Duration::from_micros(200))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use millpond::Exit;

    use super::*;

    #[test]
    fn wrong_options_are_refused_with_a_reason() {
        let refused = |args: &[&str]| {
            let args = [&["load"], args].concat().into_iter().map(OsString::from);
            parse(args).expect_err("they are wrong").to_string()
        };
        assert!(refused(&["--late", "2"]).contains("between 0 and 1"));
        assert!(refused(&["--span", "60"]).contains("a span of time like"));
        assert!(refused(&["--partitions", "0"]).contains("0 is not in"));
        assert!(refused(&["--rate", "0"]).contains("0 is not in"));
        assert!(refused(&["--garbage", "0"]).contains("0 is not in"));
        assert!(refused(&["--start", "yesterday"]).contains("--start"));
    }

    #[test]
    fn every_option_has_a_variable_of_its_own() {
        let help = parse(["load", "--help"].map(OsString::from)).expect_err("help comes as an error").to_string();
        for option in Options::command().get_opts().filter_map(Arg::get_long) {
            let own = format!("[env: MILLPOND_LOAD_{}]", option.to_uppercase().replace('-', "_"));
            assert!(help.contains(&own) || option == "brokers", "{option}: {help}");
        }
        assert!(help.contains("MILLPOND_BROKERS"), "{help}");
    }

    #[test]
    fn garbage_is_a_click_that_lacks_something() {
        let mut value = Vec::new();
        put_garbage(&Click { user: 1, page: 2, at: 3, dwell: 4 }, &mut value);
        assert_eq!(value, br#"{"user":"u1","page":"p2","at":3}"#);
    }

    #[test]
    fn settings_are_pairs() {
        let fault = writer::settings("localhost:9092", &["acks".to_owned()]).expect_err("it has no value");
        assert_eq!(fault.exit(), Exit::Usage);
        let settings = writer::settings("localhost:9092", &["acks=all".to_owned()]).expect("it is a pair");
        assert_eq!(settings.get("acks"), Some("all"));
    }
}
