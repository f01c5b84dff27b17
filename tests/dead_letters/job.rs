//! The job: it copies readings, and collects them in windows that wait long for late ones. This test program is its binary, in two builds: one
//! that cannot read some records, and the mended one.

use std::time::Duration;

use millpond::log::Log;
use millpond::{Collected, Delivery, Flow, Job, Json, Kept, Pane, Timestamp, Tumbling, Untimed};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// The arguments with which this program is the job.
pub(crate) const ARGS: &str = "MILLPOND_TEST_ARGS";
/// Which build it is: `broken` when it is not said.
pub(crate) const BUILD: &str = "MILLPOND_TEST_BUILD";
/// Behind the name of a build: with this delivery.
pub(crate) const AT_LEAST_ONCE: &str = ", at least once";
pub(crate) const READINGS: &str = "readings";
pub(crate) const COPIES: &str = "copies";
pub(crate) const HOURS: &str = "hours";
pub(crate) const COUNTS: &str = "counts";
pub(crate) const LATE: &str = "late";
pub(crate) const DEAD: &str = "readings-dead";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) sensor: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) at: i64,
}

/// A number, which some sensors write as text: the first build does not read those.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    if !from.is_human_readable() || !mended() {
        return u64::deserialize(from);
    }
    match Value::deserialize(from)? {
        Value::String(text) => text.parse().map_err(D::Error::custom),
        value => value.as_u64().ok_or_else(|| D::Error::custom("no number")),
    }
}

fn mended() -> bool {
    std::env::var(BUILD).is_ok_and(|build| build.starts_with("mended") || build == "panics")
}

/// The reading of a number, as it is written. Every twentieth number is text, and every fiftieth reading is of a sensor that the first build
/// does not know.
pub(crate) fn reading(number: u64) -> Value {
    let sensor = if number % 50 == 7 { 99 } else { number % 5 };
    let at = number / 10 + number * 31 % 4;
    let value = if is_text(number) { json!(number.to_string()) } else { json!(number) };
    json!({ "sensor": sensor, "number": value, "at": at })
}

fn is_text(number: u64) -> bool {
    number % 20 == 3
}

/// How many of the first so many the first build cannot use.
pub(crate) fn bad(count: u64) -> usize {
    (0..count).filter(|number| is_text(*number) || number % 50 == 7).count()
}

fn known(reading: Kept<Reading>) -> Result<Kept<Reading>, String> {
    assert!(reading.sensor != 99 || std::env::var(BUILD).as_deref() != Ok("panics"), "what is sensor 99");
    if reading.sensor == 99 && !mended() { Err("sensor 99 is not known".to_owned()) } else { Ok(reading) }
}

pub(crate) fn draw(flow: &Flow<'_>) {
    let log = Log::at(flow.state_dir().join("log"));
    let readings = log.read::<Reading>(READINGS, Json).kept();
    let readings = readings.event_time(|reading: &Kept<Reading>| Timestamp::from_secs(reading.at));
    let readings = flow.source("readings", readings.out_of_order(Duration::from_secs(5)));
    match std::env::var(BUILD).as_deref() {
        Ok("without") => {}
        Ok("in memory") => flow.dead_letters("dead", Collected::new().sink()),
        _ => flow.dead_letters("dead", log.dead_letters(DEAD)),
    }
    let used = readings.filter(|_| true).try_map(known);
    let (counts, late) = used
        .clone()
        .key_by(|reading| reading.sensor)
        .window(Tumbling::of(Duration::from_secs(10)))
        .named("tens")
        .split_late()
        .aggregate(|w| w.count());
    counts.sink("counts", log.write(COUNTS, Json));
    late.sink("late", log.write_kept(LATE));
    let used = used.map(Kept::into_value);
    used.clone().sink("copies", log.write(COPIES, Json).key(|reading: &Reading| reading.sensor));
    // Of which some are refused after others of the same record have gone on.
    used.clone()
        .flat_map(|reading| [reading.clone(), reading])
        .try_map(|reading| if reading.at < 0 { Err("before all time") } else { Ok(reading) })
        .filter(|_| false)
        .sink("parts", log.write("parts", Json));
    used.key_by(|reading| reading.sensor)
        .window(Tumbling::of(Duration::from_secs(100)))
        .allowed_lateness(Duration::from_hours(100))
        .aggregate(|w| w.collect(|reading| reading.number))
        .map(|pane: Pane<u64, Vec<u64>>| (pane.key, pane.start.secs(), pane.value))
        .sink("hours", log.write(HOURS, Json));
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("readings").chain(args.split(' ')).map(Into::into);
    let build = std::env::var(BUILD).unwrap_or_default();
    let delivery = if build.ends_with(AT_LEAST_ONCE) { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce };
    let job = Job::new("readings").about("Readings, copied and collected").delivery(delivery);
    let exit = job.main_with(args, draw);
    std::process::exit(exit.code().into());
}
