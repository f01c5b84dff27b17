//! A small job with a state worth losing: hits from a log become sums a key and minute, beside a copy of every hit.
//!
//! It runs inside the test, or as a process of its own (this test program started again) where it is to be killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use millpond::log::{Log, LogError, Record, Settings, Start};
use millpond::{
    Delivery, Ended, Exit, Fault, Flow, Job, Json, Pane, Run, Running, Timestamp, Tumbling, Tuning, Untimed,
};

/// Partitions of the topic `hits`.
const PARTITIONS: u64 = 3;
/// Hits in all.
pub(crate) const HITS: u64 = 3_000;

/// Number, key, event time in seconds.
type Hit = (u64, u64, i64);

/// Hits come up to two minutes out of order, and every hundredth comes an hour late.
fn hit(number: u64) -> Hit {
    let late = if number % 100 == 99 { 3_600 } else { 0 };
    (number, number * 7 % 23, number as i64 + (number * 31 % 120) as i64 - late)
}

/// Appends the hits, in order of their numbers.
pub(crate) fn feed(state: &Path) {
    let log = Log::open(state.join("log")).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    log.create_topic("hits", Settings::partitions(PARTITIONS as u32)).unwrap();
    let claim = writer.claim("hits").unwrap();
    for number in 0..HITS {
        let value = serde_json::to_vec(&hit(number)).unwrap();
        let record = Record::new(Timestamp::from_secs(hit(number).2), &value);
        writer.append(claim, (number % PARTITIONS) as u32, &record).unwrap();
        if number % 500 == 499 {
            writer.commit(number, b"").unwrap();
        }
    }
}

/// So little may be in flight that reading waits for commits: there are many epochs, however slow the disk is.
pub(crate) fn run(state: &Path) -> Run {
    let tuning = Tuning { batch: 16, budget_bytes: 10 << 10, ..Tuning::default() };
    Run { until_end: true, interval: Duration::from_millis(2), tuning, ..Run::new("trial", 1, state) }
}

pub(crate) fn job() -> Job {
    Job::new("trial")
}

/// The flow. Beyond the hit `slow_from`, reading is slow, so that a test can stop it in the middle.
pub(crate) fn draw(flow: &Flow<'_>, slow_from: u64) {
    let log = Log::at(flow.state_dir().join("log"));
    let hits = log.read::<Hit>("hits", Json).event_time(|hit| Timestamp::from_secs(hit.2));
    let hits = flow.source("hits", hits.out_of_order(Duration::from_secs(60))).inspect(move |_, hit| {
        if hit.0 >= slow_from {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let keyed = hits.clone().key_by(|hit| hit.1);
    let (sums, late) = keyed
        .window(Tumbling::of(Duration::from_mins(1)))
        .allowed_lateness(Duration::from_secs(90))
        .split_late()
        .aggregate(|w| (w.count(), w.sum(|hit| hit.0)));
    hits.map(|hit| hit.0).sink("copies", log.write("copies", Json));
    sums.map(|pane: Pane<u64, (u64, u64)>| (pane.key, pane.start.micros(), pane.value))
        .sink("sums", log.write("sums", Json));
    late.map(|hit| hit.0).sink("late", log.write("late", Json));
}

/// What the job has committed to one of its topics, sorted.
pub(crate) fn topic(state: &Path, name: &str) -> Result<Vec<String>, LogError> {
    let log = Log::at(state.join("log"));
    let partitions = match log.topic(name) {
        Ok(topic) => topic.settings.partition_count(),
        Err(LogError::NoSuchTopic { .. }) => 0,
        Err(error) => return Err(error),
    };
    let mut values = Vec::new();
    for partition in 0..partitions {
        let mut reader = log.reader(name, partition, Start::Earliest)?;
        while let Some(block) = reader.read_block(1 << 20)? {
            values.extend(block.records().map(|record| String::from_utf8_lossy(record.value.unwrap()).into_owned()));
        }
    }
    values.sort();
    Ok(values)
}

/// All that it has committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) copies: Vec<String>,
    pub(crate) sums: Vec<String>,
    pub(crate) late: Vec<String>,
}

pub(crate) fn answer(state: &Path) -> Result<Answer, LogError> {
    Ok(Answer { copies: topic(state, "copies")?, sums: topic(state, "sums")?, late: topic(state, "late")? })
}

/// Runs it to its end.
pub(crate) fn finish(state: &Path) -> Result<Ended, Fault> {
    job().run(run(state), |flow| draw(flow, u64::MAX))
}

/// What it computes when nothing happens to it.
pub(crate) fn undisturbed() -> Answer {
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    assert!(finish(state.path()).unwrap().finished);
    let answer = answer(state.path()).unwrap();
    let mut numbers: Vec<u64> = answer.copies.iter().map(|copy| copy.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..HITS).collect::<Vec<_>>());
    assert!(answer.sums.len() > 500 && !answer.late.is_empty(), "{} {}", answer.sums.len(), answer.late.len());
    answer
}

/// Runs it up to about the middle and stops it: many epochs, merged files, open windows.
pub(crate) fn half_way(state: &Path) {
    let half = |running: &Running| running.status().partitions.iter().map(|partition| partition.next).sum::<u64>();
    let mut run = run(state);
    // So many epochs that their files are merged.
    run.tuning.budget_bytes = 2 << 10;
    let running = job().start(run, |flow| draw(flow, HITS / 2)).unwrap();
    while half(&running) < HITS / 2 {
        assert!(!running.ended());
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    let ended = running.join().unwrap();
    assert!(!ended.finished && ended.epoch > 20, "{ended:?}");
}

/// Copies a directory, except for sockets.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What tells this program to be the job: a delivery mode and the state directory.
const BE: &str = "MILLPOND_TRIAL";

/// The job as a process of its own.
pub(crate) fn process(mode: Delivery, state: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["trial::be_the_job", "--exact", "--nocapture"]);
    command.env(BE, format!("{} {}", mode.name(), state.display()));
    command
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(BE) else { return };
    let (mode, state) = args.split_once(' ').unwrap();
    let modes = [Delivery::ExactlyOnce, Delivery::AtLeastOnce, Delivery::AtMostOnce];
    let mode = modes.into_iter().find(|known| known.name() == mode).unwrap();
    let ended = job().delivery(mode).run(run(Path::new(state)), |flow| draw(flow, u64::MAX));
    let exit = ended.map_or_else(
        |fault| {
            eprintln!("error: {fault}\nhelp: {}", fault.exit().advice());
            fault.exit()
        },
        |_| Exit::Finished,
    );
    std::process::exit(exit.code().into());
}
