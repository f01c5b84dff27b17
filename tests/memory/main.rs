//! Resident memory stays bounded under load: each case runs as a process of its own, this test program started again, and measures itself.
//!
//! What may be resident beside the state: 64 MiB of bytes in flight, which are counted as they are encoded, while buffers that grow by
//! doubling may hold twice as much, and what the allocator keeps of it for later. So twice the budget is the line; ten million records
//! encoded for a slow sink would be six times that.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod drain;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millpond::{Ended, Flow, Job, Run, Timestamp, Tumbling, Tuning, Untimed, generate};

use drain::Drain;

/// Records of each case.
const RECORDS: u64 = 10_000_000;
/// What a job may hold beside its state: twice the bytes in flight.
const LINE: u64 = 128 << 20;
/// The case that this program is to be, and its state directory.
const CASE: &str = "MILLPOND_MEMORY_CASE";

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Notes the greatest resident size while it lives.
struct Watch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Self {
        let watch = Watch { peak: Arc::new(AtomicU64::new(0)), stop: Arc::new(AtomicBool::new(false)) };
        let (peak, stop) = (Arc::clone(&watch.peak), Arc::clone(&watch.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(resident(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        watch
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(resident())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Runs a job to its end, and answers by how much it grew.
fn grown(
    state: &Path,
    workers: usize,
    tuning: Tuning,
    draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static,
) -> u64 {
    let (before, began) = (resident(), Instant::now());
    let watch = Watch::start();
    let running = Job::new("memory").start(Run { workers, tuning, ..Run::new("memory", 1, state) }, draw).unwrap();
    let report = running.reporter();
    let ended = running.join().unwrap();
    assert!(matches!(ended, Ended { finished: true, .. }));
    let status = report();
    let grown = watch.peak() - before;
    println!(
        "grew by {} MiB over {}; {} records in {:.1} s, {} MiB in flight at most, {} epochs",
        mib(grown),
        mib(before),
        status.records_read,
        began.elapsed().as_secs_f64(),
        mib(status.in_flight_peak as u64),
        status.epoch,
    );
    grown
}

fn slow_sink(state: &Path) {
    let grown = grown(state, 1, Tuning::default(), |flow| {
        let records = generate(2, |partition, index| (index, u64::from(partition), [index; 6])).count(RECORDS);
        let records = records.event_time(|record| Timestamp::from_micros(record.0 as i64));
        // Slower than the source, and 760 MB in all.
        flow.source("records", records).sink("slow", Drain { nanos_a_record: 1_000 });
    });
    assert!(grown < LINE, "{} MiB", mib(grown));
}

fn hot_key(state: &Path) {
    let grown = grown(state, 2, Tuning::default(), |flow| {
        let records = generate(4, |_, index| index).count(RECORDS);
        let records = records.event_time(|index| Timestamp::from_micros(*index as i64 * 100));
        let counts = flow.source("records", records).key_by(|_| 7_u64);
        let counts = counts.window(Tumbling::of(Duration::from_secs(1))).aggregate(|w| w.count());
        counts.sink("counts", Drain { nanos_a_record: 0 });
    });
    assert!(grown < LINE, "{} MiB", mib(grown));
}

/// Keys and windows are such that every record makes a pane, and that none fires before the last record was read.
fn panes_at_one_watermark(state: &Path) {
    let (before, watch) = (resident(), Watch::start());
    let began = Instant::now();
    let running = Job::new("memory").start(Run::new("memory", 1, state), |flow: &Flow<'_>| {
        let records = generate(1, |_, index| index).count(RECORDS);
        let records = records.event_time(|_| Timestamp::from_secs(100)).out_of_order(Duration::from_secs(60));
        let counts = flow.source("records", records).key_by(|index| *index);
        let counts = counts.window(Tumbling::of(Duration::from_secs(1))).aggregate(|w| w.count());
        counts.sink("counts", Drain { nanos_a_record: 0 });
    });
    let running = running.unwrap();
    while running.status().records_read < RECORDS {
        assert!(!running.ended());
        thread::sleep(Duration::from_millis(1));
    }
    let (state, read) = (watch.peak() - before, began.elapsed());
    let watch = Watch::start();
    assert!(running.join().unwrap().finished);
    let fired = (watch.peak() - before).saturating_sub(state);
    println!(
        "state of {} MiB in {:.1} s, grew by {} MiB while it fired, which took {:.1} s",
        mib(state),
        read.as_secs_f64(),
        mib(fired),
        (began.elapsed() - read).as_secs_f64()
    );
    // The last records are applied, and the checkpoint that holds them is written, after the last one was read: on a busy machine that falls
    // into the second part, the more the busier it is (267 MiB were seen). All panes emitted at once would be 560 MiB.
    assert!(fired < 3 * LINE, "{} MiB", mib(fired));
}

/// One partition could be read at once, the other takes ten seconds for its 5,000 seconds of event time. Every record makes a pane.
fn one_partition_ahead(state: &Path) {
    let ahead = |align: Duration, state: &Path, records: u64| {
        let tuning = Tuning { align, ..Tuning::default() };
        grown(state, 2, tuning, move |flow| {
            let hits = move |partition: u32, index: u64| match partition {
                0 => (index, index as i64),
                _ => {
                    // The slow one: x.
                    if index.is_multiple_of(records / 1_000) {
                        thread::sleep(Duration::from_millis(20));
                    }
                    (0, index as i64)
                }
            };
            let hits = generate(2, hits).count(records).event_time(|hit| Timestamp::from_millis(hit.1));
            let counts = flow.source("hits", hits).key_by(|hit| hit.0);
            let counts = counts.window(Tumbling::of(Duration::from_secs(1))).aggregate(|w| w.count());
            counts.sink("counts", Drain { nanos_a_record: 0 });
        })
    };
    let aligned = ahead(Tuning::default().align, &state.join("aligned"), RECORDS);
    assert!(aligned < LINE, "{} MiB", mib(aligned));
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let state = tempfile::tempdir().unwrap();
    match case.as_str() {
        "slow_sink" => slow_sink(state.path()),
        "hot_key" => hot_key(state.path()),
        "panes" => panes_at_one_watermark(state.path()),
        "ahead" => one_partition_ahead(state.path()),
        other => panic!("there is no case {other}"),
    }
}

fn case(name: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["be_the_case", "--exact", "--nocapture"]).env(CASE, name).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.contains("MiB")).for_each(|line| println!("{name}: {line}"));
    assert!(output.status.success(), "{name}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_slow_sink_under_a_fast_source_holds_it_back() {
    case("slow_sink");
}

#[test]
fn a_hot_key_piles_nothing_up() {
    case("hot_key");
}

#[test]
fn ten_million_panes_at_one_watermark_fire_in_budgets() {
    case("panes");
}

#[test]
fn a_partition_far_ahead_waits_for_the_others() {
    case("ahead");
}
