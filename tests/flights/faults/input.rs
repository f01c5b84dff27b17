//! Input that is empty, silent or broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use millpond::log::{Log, Record, Settings};
use millpond::{Collected, Exit, Fault, File, Flow, Job, Json, Message, Raw, Run, Timestamp, Tumbling, Untimed};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    at: i64,
}

fn run(state: &Path) -> Run {
    Run { until_end: true, interval: Duration::from_millis(10), ..Run::new("input", 1, state) }
}

fn ended(state: &Path, draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) -> Result<(), Fault> {
    Job::new("input").run(run(state), draw).map(|ended| assert!(ended.finished))
}

/// Makes a topic of two partitions and writes these values to them.
fn fill(state: &Path, partitions: [&[&str]; 2]) {
    let log = Log::open(state.join("log")).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    if log.topic("readings").is_err() {
        log.create_topic("readings", Settings::partitions(2)).unwrap();
    }
    let claim = writer.claim("readings").unwrap();
    for (values, partition) in partitions.into_iter().zip(0..) {
        for value in values {
            writer.append(claim, partition, &Record::new(Timestamp::EPOCH, value.as_bytes())).unwrap();
        }
    }
    writer.commit(1, b"").unwrap();
}

/// How the job deals with bad records.
#[derive(Clone, Copy)]
enum Bad {
    Fail,
    Skip,
    Keep,
}

/// Counts readings of the topic by sensor and second.
fn counts(flow: &Flow<'_>, bad: Bad, idle: Option<Duration>, out: &Collected<(String, i64, u64)>) {
    let log = Log::at(flow.state_dir().join("log"));
    match bad {
        Bad::Fail => {}
        Bad::Skip => flow.skip_bad_records(),
        Bad::Keep => flow.dead_letters("dead", log.dead_letters("dead")),
    }
    let mut readings = log.read::<Reading>("readings", Json).event_time(|reading| Timestamp::from_secs(reading.at));
    if let Some(idle) = idle {
        readings = readings.idle_after(idle);
    }
    let counts = flow.source("readings", readings).key_by(|reading| reading.sensor.clone());
    let counts = counts.window(Tumbling::of(Duration::from_secs(1))).aggregate(|w| w.count());
    counts.map(|pane| (pane.key, pane.start.secs(), pane.value)).sink("counts", out.sink());
}

fn counted(state: &Path, bad: Bad) -> Result<Vec<(String, i64, u64)>, Fault> {
    let out = Collected::new();
    let kept = out.clone();
    ended(state, move |flow| counts(flow, bad, None, &out))?;
    let mut found = kept.take();
    found.sort();
    Ok(found)
}

const GOOD: [&str; 3] = [r#"{"sensor":"a","at":1}"#, r#"{"sensor":"b","at":2}"#, r#"{"sensor":"a","at":9}"#];

fn three() -> Vec<(String, i64, u64)> {
    vec![("a".to_owned(), 1, 1), ("a".to_owned(), 9, 1), ("b".to_owned(), 2, 1)]
}

#[test]
fn an_empty_topic_is_read_to_its_end() {
    let state = tempfile::tempdir().unwrap();
    fill(state.path(), [&[], &[]]);
    assert_eq!(counted(state.path(), Bad::Fail).unwrap(), []);
}

#[test]
fn an_empty_partition_holds_nothing_back_at_the_end() {
    let state = tempfile::tempdir().unwrap();
    fill(state.path(), [&GOOD, &[]]);
    assert_eq!(counted(state.path(), Bad::Fail).unwrap(), three());
}

#[test]
fn a_silent_partition_holds_windows_back_unless_it_may_be_idle() {
    let state = tempfile::tempdir().unwrap();
    fill(state.path(), [&GOOD, &[]]);
    let shown = |version: u32, idle: Option<Duration>, patience: Duration| {
        let out = Collected::new();
        let kept = out.clone();
        let run = Run { until_end: false, ..run(state.path()) };
        let job = Job::new("input").version(version);
        let running = job.start(run, move |flow| counts(flow, Bad::Fail, idle, &out)).unwrap();
        let began = Instant::now();
        while began.elapsed() < patience && kept.len() < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.stop();
        assert!(!running.join().unwrap().finished);
        let mut found = kept.take();
        found.sort();
        found
    };
    assert_eq!(shown(1, None, Duration::from_millis(300)), []);
    // The newest window stays open: nothing says that it is over.
    let closed: Vec<_> = three().into_iter().filter(|(_, at, _)| *at < 9).collect();
    assert_eq!(shown(2, Some(Duration::from_millis(50)), Duration::from_secs(20)), closed);
}

#[test]
fn json_of_the_wrong_type_is_named_counted_or_kept() {
    let state = tempfile::tempdir().unwrap();
    let wrong = r#"{"sensor":"a","at":"noon"}"#;
    fill(state.path(), [&GOOD[..2], &[GOOD[2], wrong, "not json \u{1}"]]);
    let fault = counted(state.path(), Bad::Fail).unwrap_err();
    let said = fault.to_string();
    assert_eq!(fault.exit(), Exit::FixJob, "{said}");
    assert!(said.contains("readings") && said.contains("partition 1 offset 1") && said.contains("noon"), "{said}");
    assert_eq!(counted(state.path(), Bad::Skip).unwrap(), three());

    let state = tempfile::tempdir().unwrap();
    fill(state.path(), [&GOOD[..2], &[GOOD[2], wrong, "not json \u{1}"]]);
    assert_eq!(counted(state.path(), Bad::Keep).unwrap(), three());
    let letters = Collected::<Message<Vec<u8>>>::new();
    let dead = letters.clone();
    let read = Run { until_end: true, ..Run::new("dead", 1, state.path()) };
    let ended = Job::new("dead").run(read, move |flow| {
        let log = Log::at(flow.state_dir().join("log"));
        flow.source("dead", log.read("dead", Raw).messages().no_event_time()).sink("out", letters.sink());
    });
    assert!(ended.unwrap().finished);
    let found: BTreeMap<_, _> = dead.take().into_iter().map(position_and_value).collect();
    let want = [("readings/1/1", wrong), ("readings/1/2", "not json \u{1}")];
    assert_eq!(found, want.map(|(place, value)| (place.to_owned(), value.as_bytes().to_owned())).into());
}

fn position_and_value(letter: Message<Vec<u8>>) -> (String, Vec<u8>) {
    let place = letter.headers.iter().find(|(name, _)| name == "millpond-position").unwrap().1.clone();
    (String::from_utf8(place).unwrap(), letter.value.unwrap())
}

/// Reads a CSV file; `bad` records fail the job or are skipped.
fn csv(path: &Path, bad: Bad) -> Result<Vec<Reading>, Fault> {
    let (state, path) = (tempfile::tempdir().unwrap(), path.to_owned());
    let out = Collected::new();
    let kept = out.clone();
    ended(state.path(), move |flow| {
        if matches!(bad, Bad::Skip) {
            flow.skip_bad_records();
        }
        let readings = File::csv::<Reading>(&path).event_time(|reading| Timestamp::from_secs(reading.at));
        flow.source("readings", readings).sink("out", out.sink());
    })?;
    Ok(kept.take())
}

#[test]
fn empty_files_give_nothing_and_broken_lines_are_named_or_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readings.csv");
    for nothing in ["", "sensor,at\n", "sensor,at"] {
        fs::write(&path, nothing).unwrap();
        assert_eq!(csv(&path, Bad::Fail).unwrap(), []);
    }
    fs::write(&path, "sensor,at\na,1\nb,2,3\nc\nd,noon\n\"e,5\ne,5\n").unwrap();
    let fault = csv(&path, Bad::Fail).unwrap_err();
    let said = fault.to_string();
    assert_eq!(fault.exit(), Exit::FixJob, "{said}");
    assert!(said.contains("readings") && said.contains("partition 0 offset 1"), "{said}");
    // A quote that is never closed spoils its own line and swallows nothing.
    let good = [("a", 1), ("e", 5)].map(|(sensor, at)| Reading { sensor: sensor.to_owned(), at });
    assert_eq!(csv(&path, Bad::Skip).unwrap(), good);
}
