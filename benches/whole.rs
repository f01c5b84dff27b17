//! The whole way on the embedded log: read, decode JSON, count by page and minute, write, commit; beside a hand loop that reads the same
//! log, decodes and counts the same and writes the same lines to a plain file, without any commit. Prints `ratio whole-way`.

mod kit {
    pub(crate) mod clock;
    pub(crate) mod report;
}

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use kit::clock::{Spent, timed, timed_apart};
use kit::report::{Ratios, load_average, wanted};
use millpond::log::{Log, Record, Settings, Start};
use millpond::{Flow, Job, Json, Pane, Run, Timestamp, Tumbling, Untimed};
use serde::{Deserialize, Serialize};

const RECORDS: u64 = 12_000_000;
const PARTITIONS: u32 = 4;
const PAGES: u64 = 100_000;
const MINUTE_MS: i64 = 60_000;
const BOUND_MS: i64 = 5_000;
const ROUNDS: usize = 3;

/// What both sides want of a click; other fields of the JSON are stepped over.
#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
}

/// The same, borrowed: what a hand loop would decode into.
#[derive(Deserialize)]
struct Seen<'a> {
    page: &'a str,
    at: i64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Views {
    page: String,
    start: i64,
    views: u64,
}

fn main() {
    if !wanted("whole-way") {
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    feed(&dir.path().join("log"));
    println!("# whole way: {} M clicks; load average {}", RECORDS / 1_000_000, load_average());
    let mut ratios = Ratios::default();
    for round in 1..=ROUNDS {
        let (lines, hand) = timed_apart(|| by_hand(&dir.path().join("log"), &dir.path().join("lines")));
        let (written, engine, epochs) = job(dir.path(), round as u32);
        assert_eq!(lines, written, "both count the same");
        ratios.add(engine.cpu / hand.cpu);
        let ns = |spent: Spent| (spent.cpu * 1e9 / RECORDS as f64, spent.wall);
        let ((hand, hand_wall), (engine, engine_wall)) = (ns(hand), ns(engine));
        println!(
            "#   by hand {hand:.0} ns a record in {hand_wall:.1} s, engine {engine:.0} ns in {engine_wall:.1} s, {epochs} epochs"
        );
    }
    ratios.print("whole-way", Some(1.3));
}

/// An hour of clicks, up to five seconds out of order.
fn feed(dir: &Path) {
    let log = Log::open(dir).expect("the log opens");
    log.create_topic("clicks", Settings::partitions(PARTITIONS)).expect("a fresh log");
    let mut writer = log.writer("feeder").expect("the only feeder");
    let clicks = writer.claim("clicks").expect("the only writer");
    let mut value = Vec::new();
    for index in 0..RECORDS {
        let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        // The product of two draws: some pages are seen far more often than others.
        let page = (mixed % PAGES) * ((mixed >> 22) % PAGES) / PAGES;
        let at = 1_700_000_000_000 + (index * 3_600_000 / RECORDS) as i64 - (mixed % BOUND_MS as u64) as i64;
        value.clear();
        write!(value, r#"{{"user":"u{}","page":"p{page}","at":{at},"dwell":{}}}"#, mixed % 1_000_003, mixed % 10_000)
            .expect("a vector takes everything");
        let record = Record::new(Timestamp::from_millis(at), &value);
        writer.append(clicks, (index % u64::from(PARTITIONS)) as u32, &record).expect("there is room");
    }
    writer.commit(1, b"").expect("there is room");
}

fn job(dir: &Path, version: u32) -> (u64, Spent, u64) {
    let log = Log::at(dir.join("log"));
    let run = Run { until_end: true, ..Run::new("views", version, dir) };
    let draw = move |flow: &Flow<'_>| {
        let clicks = log.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
        flow.source("clicks", clicks.out_of_order(std::time::Duration::from_millis(BOUND_MS as u64)))
            .keyed(|click| (click.page, ()))
            .window(Tumbling::of(std::time::Duration::from_millis(MINUTE_MS as u64)))
            .aggregate(|w| w.count())
            .map(|pane: Pane<String, u64>| Views { page: pane.key, start: pane.start.millis(), views: pane.value })
            .sink("views", log.write("views", Json).key(|views: &Views| views.page.clone()));
    };
    let (written, spent) = timed(|| {
        let running = Job::new("views").version(version).start(run, draw).expect("the job starts");
        let report = running.reporter();
        let ended = running.join().expect("the job ends");
        assert!(ended.finished, "all of it was read");
        (report().records_written, ended.epoch)
    });
    (written.0, spent, written.1)
}

/// One thread, one block of each partition in turn; a window leaves when the least watermark has passed it. How many lines it wrote.
fn by_hand(dir: &Path, out: &Path) -> u64 {
    let log = Log::at(dir);
    let open = |partition| log.reader("clicks", partition, Start::Earliest).expect("the topic is there");
    let mut readers: Vec<_> = (0..PARTITIONS).map(|partition| (open(partition), i64::MIN)).collect();
    let mut windows: BTreeMap<i64, HashMap<String, u64, foldhash::fast::RandomState>> = BTreeMap::new();
    let mut lines = BufWriter::new(File::create(out).expect("there is room"));
    let mut written = 0;
    loop {
        let mut open = false;
        for (reader, watermark) in &mut readers {
            let Some(block) = reader.read_block(256 << 10).expect("the log is whole") else {
                *watermark = i64::MAX;
                continue;
            };
            open = true;
            for record in block.records() {
                let text = std::str::from_utf8(record.value.unwrap_or_default()).expect("it was written as text");
                let click: Seen<'_> = serde_json::from_str(text).expect("it was written as JSON");
                *watermark = (*watermark).max(click.at - BOUND_MS);
                let start = click.at.div_euclid(MINUTE_MS) * MINUTE_MS;
                if start + MINUTE_MS <= *watermark {
                    continue;
                }
                let counts = windows.entry(start).or_default();
                match counts.get_mut(click.page) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(click.page.to_owned(), 1)),
                }
            }
            reader.reuse(block);
        }
        let least = readers.iter().map(|(_, watermark)| *watermark).min().unwrap_or(i64::MAX);
        while let Some(window) = windows.first_entry().filter(|window| window.key() + MINUTE_MS <= least) {
            let start = *window.key();
            for (page, views) in window.remove() {
                serde_json::to_writer(&mut lines, &Views { page, start, views }).expect("there is room");
                lines.write_all(b"\n").expect("there is room");
                written += 1;
            }
        }
        if !open {
            lines.flush().expect("there is room");
            return written;
        }
    }
}
