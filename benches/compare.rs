//! `compare` beside `sort` and `diff` on the same rows: two outputs in the embedded log, in the order in which windows leave, with one row in a
//! thousand that differs. 10 million rows a side with `MILLPOND_BENCH_ROWS=10000000`; a million without, so that all benches together stay short.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use millpond::engine::compare::{Settings, Tolerances, compare};
use millpond::log::{Log, Record, Settings as TopicSettings};
use millpond::{Lines as _, Timestamp};

const PARTITIONS: u32 = 4;
/// Keys of a window.
const KEYS: u64 = 10_000;

/// A row of a side: event time in seconds, key, value.
fn row(number: u64, side: u64) -> (i64, String, String) {
    let key = number % KEYS;
    let views = number * 7 % 1_000 + u64::from(side == 1 && number % 1_000 == 7);
    (
        (number / KEYS) as i64,
        format!("page-{key:05}"),
        format!(r#"{{"page":"page-{key:05}","views":{views},"last":{}}}"#, number * 31 % 60),
    )
}

fn write(dir: &Path, log: &Log, side: u64, rows: u64) {
    let name = format!("side-{side}");
    log.create_topic(&name, TopicSettings::partitions(PARTITIONS)).expect("a fresh topic");
    let mut writer = log.writer(&name).expect("a fresh writer");
    let claim = writer.claim(&name).expect("its own topic");
    let mut text = BufWriter::new(File::create(dir.join(&name)).expect("a fresh file"));
    for number in 0..rows {
        // Within a window each version has an order of its own.
        let number = if side == 0 { number } else { number / KEYS * KEYS + (KEYS - 1 - number % KEYS) };
        let (at, key, value) = row(number, side);
        let record = Record::new(Timestamp::from_secs(at), value.as_bytes()).key(key.as_bytes());
        writer.append(claim, (number % u64::from(PARTITIONS)) as u32, &record).expect("room on the disk");
        if number % 100_000 == 99_999 {
            writer.commit(number, b"").expect("room on the disk");
        }
        writeln!(text, "{at:010}\t{key}\t{value}").expect("room on the disk");
    }
    writer.commit(rows, b"").expect("room on the disk");
    text.flush().expect("room on the disk");
}

fn main() {
    let rows = std::env::var("MILLPOND_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = Log::open(dir.path().join("log")).expect("a fresh log");
    (0..2).for_each(|side| write(dir.path(), &log, side, rows));
    let settings = Settings {
        times: Timestamp::MIN..Timestamp::MAX,
        table: false,
        tolerances: Tolerances::default(),
        scratch: dir.path().join("scratch"),
        memory: 256 << 20,
        samples: 10,
    };
    let began = Instant::now();
    let report = compare(&*log.ledger(), "side", ["side-0", "side-1"], &settings).expect("both can be read");
    let ours = began.elapsed();
    assert_eq!((report.first, report.second, report.differing), (rows, rows, rows.div_ceil(1_000)));
    let script = "sort -S 128M side-0 > a; sort -S 128M side-1 > b; diff a b | grep -c '^<'";
    let began = Instant::now();
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).env("LC_ALL", "C").env("TMPDIR", dir.path());
    let output =
        shell.current_dir(dir.path()).stderr(Stdio::inherit()).output().expect("bash, sort and diff are there");
    let theirs = began.elapsed();
    let lines: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a count of lines");
    assert_eq!(lines, report.differing);
    println!("{rows} rows a side: compare {ours:.1?} in 256 MiB, sort and diff {theirs:.1?}");
    println!("ratio compare-over-sort-and-diff {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}
