//! The job that is saved: hits become sums a minute, in windows that overlap, in sessions and for ever, beside copies of each hit. How it is
//! drawn is said by the environment. This test program is its binary.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond::log::Log;
use millpond::{Flow, Job, Json, Pane, Session, Sliding, Timestamp, Tumbling, Untimed};

/// The arguments with which this program is the job.
pub(super) const ARGS: &str = "MILLPOND_TEST_SAVED";
/// How it is drawn; as it was first without it.
pub(super) const DRAWN: &str = "MILLPOND_TEST_DRAWN";

/// So many that each partition is read in several batches.
pub(super) const HITS: u64 = 24_000;

/// Number, key, event time in seconds.
pub(super) type Hit = (u64, u64, i64);

/// Hits come up to two minutes out of order, and every hundredth comes an hour late.
pub(super) fn hit(number: u64) -> Hit {
    let late = if number % 100 == 99 { 3_600 } else { 0 };
    (number, number * 7 % 23, number as i64 + (number * 31 % 120) as i64 - late)
}

fn draw(flow: &Flow<'_>) {
    let drawn = std::env::var(DRAWN).unwrap_or_default();
    let log = Log::at(flow.state_dir().join("log"));
    let hits = log.read::<Hit>("hits", Json).event_time(|hit| Timestamp::from_secs(hit.2));
    let hits = flow.source("hits", hits.out_of_order(Duration::from_secs(60)));
    let minute = Duration::from_secs(if drawn == "windows" { 30 } else { 60 });
    let keyed = hits.clone().key_by(|hit| hit.1).window(Tumbling::of(minute)).named("minutes");
    let keyed = keyed.allowed_lateness(Duration::from_secs(90)).split_late();
    let write = |name| log.write(name, Json);
    let row = |key, start: Timestamp, value: (u64, u64)| (key, start.micros(), value);
    let (sums, late) = match drawn.as_str() {
        "changed" => {
            // Another accumulator, and nobody says how it takes what there is.
            let (sums, late) = keyed.aggregate(|w| (w.count(), w.sum(|hit| hit.0), w.distinct(|hit| hit.0 % 7)));
            (sums.map(move |Pane { key, start, value, .. }| row(key, start, (value.0, value.1))), late)
        }
        "upgraded" | "panics" => {
            let panics = drawn == "panics";
            let (sums, late) = keyed.aggregate(move |w| {
                let aggregate = (w.count(), w.sum(|hit| hit.0), w.distinct(|hit| hit.0 % 7));
                w.upgrade_state(aggregate, move |(count, sum): (u64, u128)| {
                    assert!(!panics, "no idea how");
                    (count, sum, BTreeSet::new())
                })
            });
            (sums.map(move |Pane { key, start, value, .. }| row(key, start, (value.0, value.1))), late)
        }
        _ => {
            let (sums, late) = keyed.aggregate(|w| (w.count(), w.sum(|hit| hit.0)));
            (sums.map(move |Pane { key, start, value, .. }| row(key, start, value)), late)
        }
    };
    sums.sink("sums", write("sums"));
    late.map(|hit| hit.0).sink("late", write("late"));
    if drawn != "fewer" {
        let slides = hits.clone().key_by(|hit| hit.1 % 5);
        let slides = slides.window(Sliding::of(Duration::from_mins(2)).every(Duration::from_secs(30))).named("halves");
        slides
            .aggregate(|w| w.count())
            .map(|pane| (pane.key, pane.start.micros(), pane.value))
            .sink("slides", write("slides"));
    }
    let visits = hits.clone().key_by(|hit| hit.0 % 5).window(Session::gap(Duration::from_secs(40))).named("calls");
    visits
        .aggregate(|w| w.count())
        .map(|pane| (pane.key, pane.start.micros(), pane.value))
        .sink("visits", write("visits"));
    let totals = hits.clone().key_by(|hit| hit.1);
    let totals = if drawn == "upgraded" {
        let both =
            totals.aggregate(|w| w.upgrade_state((w.count(), w.max(|hit| hit.0)), |count: u64| (count, Some(0))));
        both.changelog().map(|change| change.into_new()).map(|(key, value)| (key, value.map_or(0, |value| value.0)))
    } else {
        totals
            .aggregate(|w| w.count())
            .changelog()
            .map(|change| change.into_new())
            .map(|(key, n)| (key, n.unwrap_or(0)))
    };
    totals.sink("totals", write("totals"));
    hits.map(|hit| hit.0).sink("copies", write("copies"));
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("saved").chain(args.split(' ')).map(Into::into);
    let exit = Job::new("saved").about("Sums of hits").main_with(args, draw);
    std::process::exit(exit.code().into());
}
