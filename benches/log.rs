//! The embedded log beside a plain buffered file, over the same bytes, with one fdatasync at the end on both sides.
//!
//! Prints `ratio log-write` and `ratio log-read`, medians of five, and records a second. The plain side writes and reads records of 100
//! bytes with `BufWriter` and `BufReader`; ours also stamps, checksums, commits and, reading, verifies and finds the records' parts.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Instant;

use millpond::Timestamp;
use millpond::log::{Log, Record, Settings, Start};

const RECORDS: u64 = 1_000_000;
const SIZE: usize = 100;
const RUNS: usize = 5;

/// The bytes of record `i`: 8 of its own, then filling that no machine can skip.
fn fill(record: &mut [u8; SIZE], i: u64) {
    record[..8].copy_from_slice(&i.to_le_bytes());
    record[50] = i as u8;
}

fn plain_write(path: &Path) -> f64 {
    let started = Instant::now();
    let mut file = BufWriter::new(File::create(path).expect("the bench's directory can be written"));
    let mut record = [7; SIZE];
    for i in 0..RECORDS {
        fill(&mut record, i);
        file.write_all(&record).expect("the disk has room");
    }
    let file = file.into_inner().expect("the disk has room");
    file.sync_data().expect("the disk works");
    started.elapsed().as_secs_f64()
}

fn plain_read(path: &Path) -> f64 {
    let started = Instant::now();
    let mut file = BufReader::new(File::open(path).expect("it was just written"));
    let mut record = [0; SIZE];
    let mut sum = 0_u64;
    for _ in 0..RECORDS {
        file.read_exact(&mut record).expect("it was just written");
        sum += u64::from(black_box(&record)[50]);
    }
    black_box(sum);
    started.elapsed().as_secs_f64()
}

fn log_write(dir: &Path) -> f64 {
    let log = Log::open(dir).expect("the bench's directory can be written");
    log.create_topic("bench", Settings::partitions(1)).expect("the directory is new");
    let mut writer = log.writer("bench").expect("nobody else writes here");
    let topic = writer.claim("bench").expect("nobody else writes here");
    let started = Instant::now();
    let mut record = [7; SIZE];
    for i in 0..RECORDS {
        fill(&mut record, i);
        let at = Timestamp::from_millis(1_356_998_400_000 + i.cast_signed());
        writer.append(topic, 0, &Record::new(at, &record)).expect("the disk has room");
    }
    writer.commit(1, b"bench").expect("the disk works");
    started.elapsed().as_secs_f64()
}

fn log_read(dir: &Path) -> f64 {
    let started = Instant::now();
    let mut reader = Log::at(dir).reader("bench", 0, Start::Earliest).expect("it was just written");
    let (mut sum, mut count) = (0_u64, 0);
    while let Some(block) = reader.read_block(512 << 10).expect("it was just written") {
        for record in block.records() {
            sum += u64::from(black_box(record.value.unwrap_or_default())[50]);
            count += 1;
        }
        reader.reuse(block);
    }
    assert_eq!(count, RECORDS);
    black_box(sum);
    started.elapsed().as_secs_f64()
}

/// Seconds a commit of 1,000 records over three partitions takes, appends included.
fn commits() -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    let log = Log::open(dir.path()).expect("the bench's directory can be written");
    log.create_topic("bench", Settings::partitions(3)).expect("the directory is new");
    let mut writer = log.writer("bench").expect("nobody else writes here");
    let topic = writer.claim("bench").expect("nobody else writes here");
    let commit = |epoch| {
        let started = Instant::now();
        for i in 0..1_000 {
            writer.append(topic, i % 3, &Record::new(Timestamp::EPOCH, &[7; SIZE])).expect("the disk has room");
        }
        writer.commit(epoch, b"bench").expect("the disk works");
        started.elapsed().as_secs_f64()
    };
    median((1..=100).map(commit).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let mut times = [const { Vec::new() }; 4];
    let mut ratios = [const { Vec::new() }; 2];
    for run in 0..RUNS {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
        let (plain, log) = (dir.path().join("plain"), dir.path().join("log"));
        // Alternating, so that neither side always meets the disk that the other has just kept busy.
        let (plain_w, log_w) = if run % 2 == 0 {
            let plain_w = plain_write(&plain);
            (plain_w, log_write(&log))
        } else {
            let log_w = log_write(&log);
            (plain_write(&plain), log_w)
        };
        let (plain_r, log_r) = (plain_read(&plain), log_read(&log));
        ratios[0].push(log_w / plain_w);
        ratios[1].push(log_r / plain_r);
        for (times, time) in times.iter_mut().zip([plain_w, log_w, plain_r, log_r]) {
            times.push(time);
        }
    }
    let commit = commits();
    let [write, read] = ratios.map(median);
    println!("ratio log-write {write:.2}");
    println!("ratio log-read {read:.2}");
    println!("commit of 1,000 records in 3 partitions: {:.1} ms, median of 100", commit * 1e3);
    for (name, time) in ["plain write", "log write", "plain read", "log read"].into_iter().zip(times.map(median)) {
        println!("{name}: {:.1} M records/s of {SIZE} bytes, median of {RUNS}", RECORDS as f64 / time / 1e6);
    }
}
