//! What checkpoints cost: the longest stall of the record path, throughput, and recovery.
//!
//! A table of a million keys, of which a hundred thousand are touched in each epoch of a second. Prints
//! - `ratio checkpoint-pause-over-10ms`: the longest time between two reads of the one worker, over 10 ms; beside it the longest in
//!   processor time of that worker, which tells what it does from what other threads and programs take from it;
//! - `ratio checkpoint-cost`: processor time with a checkpoint each second, over that of the same run without any;
//! - `ratio recovery-over-read`: restoring a million keys of 100 bytes, over reading the same files.

mod kit {
    pub(crate) mod clock;
    pub(crate) mod report;
}

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use kit::clock::{Spent, timed_apart};
use kit::report::{Ratios, load_average, wanted};
use millpond::engine::source::{
    Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker,
};
use millpond::{Env, Fault, Flow, Job, Run, Running, Timestamp, Untimed, null};

const KEYS: u64 = 1_000_000;
const TOUCHED: u64 = 100_000;
const RECORDS: u64 = 150_000_000;
const ROUNDS: usize = 3;

fn main() {
    if wanted("checkpoint") {
        println!("# checkpoints of {KEYS} keys, {TOUCHED} touched an epoch; load average {}", load_average());
        let (mut pauses, mut costs) = (Ratios::default(), Ratios::default());
        for _ in 0..ROUNDS {
            let with = run(Duration::from_secs(1));
            let without = run(Duration::from_secs(86_400));
            pauses.add(with.pause.as_secs_f64() / 0.010);
            costs.add(with.spent.cpu / without.spent.cpu);
            let ns = |cpu: f64| cpu * 1e9 / RECORDS as f64;
            println!(
                "#   {:.1} ns a record with {} epochs, {:.1} without ({} epochs); longest stall {:.1} ms with (own {:.1}), {:.1} ms without (own {:.1}); {:.1} s",
                ns(with.spent.cpu),
                with.epochs,
                ns(without.spent.cpu),
                without.epochs,
                with.pause.as_secs_f64() * 1e3,
                with.own.as_secs_f64() * 1e3,
                without.pause.as_secs_f64() * 1e3,
                without.own.as_secs_f64() * 1e3,
                with.spent.wall
            );
        }
        pauses.print("checkpoint-pause-over-10ms", Some(1.0));
        costs.print("checkpoint-cost", Some(1.1));
    }
    if wanted("recovery") {
        let mut ratios = Ratios::default();
        for _ in 0..ROUNDS {
            ratios.add(recovery());
        }
        ratios.print("recovery-over-read", None);
    }
}

struct Ran {
    spent: Spent,
    pause: Duration,
    own: Duration,
    epochs: u64,
}

/// Counts records of a million keys, and looks at the gaps between reads once all keys are there.
fn run(interval: Duration) -> Ran {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    let source = Keys { records: RECORDS, ends: true, watch: Arc::default() };
    let watch = Arc::clone(&source.watch);
    let mut run = Run::new("checkpoint", 1, dir.path());
    run.interval = interval;
    run.tuning.epoch_input_bytes = u64::MAX;
    let (ended, spent) = timed_apart(move || {
        let draw = move |flow: &Flow<'_>| {
            flow.source("keys", source.clone().no_event_time()).key_by(|key| *key).count().sink("out", null());
        };
        Job::new("checkpoint").run(run, draw).expect("the job ends")
    });
    let pause = Duration::from_nanos(watch.longest.load(Ordering::Relaxed));
    let own = Duration::from_nanos(watch.own.load(Ordering::Relaxed));
    Ran { spent, pause, own, epochs: ended.epoch }
}

/// Restores a million keys of 100 bytes, and reads the same files.
fn recovery() -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    let start = || -> (Running, Arc<Watch>) {
        let source = Keys { records: KEYS, ends: false, watch: Arc::default() };
        let watch = Arc::clone(&source.watch);
        let draw = move |flow: &Flow<'_>| {
            let rows = flow.source("keys", source.clone().no_event_time()).map(|key| (key, format!("{key:092}")));
            rows.key_by(|row| row.0).reduce(|newest, row| newest.clone_from(row)).sink("out", null());
        };
        let running = Job::new("recovery").start(Run::new("recovery", 1, dir.path()), draw).expect("the job starts");
        (running, watch)
    };
    let (running, watch) = start();
    while watch.read.load(Ordering::Acquire) < KEYS {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.flush();
    running.stop();
    running.join().expect("the job stops");
    let began = Instant::now();
    let (running, watch) = start();
    while watch.opened.load(Ordering::Acquire) == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
    let restored = began.elapsed();
    running.stop();
    running.join().expect("the job stops");
    let (bytes, read) = read_all(&dir.path().join("recovery@1/checkpoints"));
    println!(
        "#   recovery of {KEYS} keys in {:.0} ms, reading the same {} MB in {:.0} ms; load average {}",
        restored.as_secs_f64() * 1e3,
        bytes / 1_000_000,
        read.as_secs_f64() * 1e3,
        load_average()
    );
    restored.as_secs_f64() / read.as_secs_f64()
}

fn read_all(dir: &Path) -> (usize, Duration) {
    let began = Instant::now();
    let files = fs::read_dir(dir).expect("the checkpoints are there");
    let bytes = files.map(|file| fs::read(file.expect("an entry").path()).expect("a file").len()).sum();
    (bytes, began.elapsed())
}

/// What the reader saw.
#[derive(Debug, Default)]
struct Watch {
    opened: AtomicU64,
    read: AtomicU64,
    longest: AtomicU64,
    own: AtomicU64,
}

/// Each key once, then a tenth of them again and again.
#[derive(Clone, Debug)]
struct Keys {
    records: u64,
    ends: bool,
    watch: Arc<Watch>,
}

impl Untimed for Keys {
    type Item = u64;
    type Reader = KeysReader;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "keys".to_owned(), from: "memory".to_owned(), bounded: self.ends, bound_micros: 0 }
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        Ok(vec![Partition { partition: 0, start: 0, end: self.records, fingerprint: String::new() }])
    }
    fn open(&self, _: &Env, assigned: &[Assigned], _: Waker) -> Result<KeysReader, Fault> {
        Ok(KeysReader { keys: self.clone(), next: assigned.first().map_or(0, |slot| slot.next), last: None })
    }
}

struct KeysReader {
    keys: Keys,
    next: u64,
    last: Option<(Instant, ThreadTime)>,
}

impl Reader<u64> for KeysReader {
    fn read<C: Collect<u64>>(&mut self, _: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let now = (Instant::now(), ThreadTime::now());
        self.keys.watch.opened.store(1, Ordering::Release);
        // The first read after all keys are there begins the watch.
        if let Some(last) = self.last.replace(now)
            && self.next > KEYS + most as u64
        {
            self.keys.watch.longest.fetch_max((now.0 - last.0).as_nanos() as u64, Ordering::Relaxed);
            self.keys.watch.own.fetch_max(now.1.duration_since(last.1).as_nanos() as u64, Ordering::Relaxed);
        }
        let to = self.keys.records.min(self.next + most as u64);
        for offset in self.next..to {
            let mixed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let key = if offset < KEYS { offset } else { mixed % TOUCHED * (KEYS / TOUCHED) };
            into.take(Arrival { offset, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes: 8 }, key);
        }
        self.next = to;
        self.keys.watch.read.store(to, Ordering::Release);
        Ok(match (to < self.keys.records, self.keys.ends) {
            (true, _) => Read::More,
            (false, true) => Read::Finished,
            (false, false) => Read::AtEnd,
        })
    }
    fn seek(&mut self, _: usize, offset: u64) -> Result<(), Fault> {
        self.next = offset;
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, _: usize) -> Option<u64> {
        Some(self.keys.records)
    }
}
