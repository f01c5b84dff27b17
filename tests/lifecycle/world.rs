//! A state directory with a log that is fed, and the job's binary on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millpond::live;
use millpond::log::{Log, Record, Settings};
use millpond::{LiveReader, Timestamp};
use serde_json::Value;

use crate::job::{CLICKS, JOB, MINUTE_MS, VIEWS, Views, click, model};
use crate::processes::example;
use crate::said::{Said, said};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    /// With this many clicks in its log.
    pub(crate) fn new(clicks: u64) -> World {
        World::with(Settings::partitions(2), clicks)
    }

    /// The same, with a topic of these settings, which has two partitions.
    pub(crate) fn with(topic: Settings, clicks: u64) -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.log().create_topic(CLICKS, topic).unwrap();
        append(&world.log(), 0..clicks);
        world
    }

    pub(crate) fn log(&self) -> Log {
        Log::open(self.dir.path().join("log")).unwrap()
    }

    /// The number of the next click.
    pub(crate) fn next(&self) -> u64 {
        self.log().offsets(CLICKS).unwrap().iter().map(|kept| kept.end).sum()
    }

    /// What a version wrote so far: minute, page and views.
    pub(crate) fn views(&self, version: u32) -> Vec<(i64, String, u64)> {
        let rows = self.well(&format!("tail {VIEWS} --version {version}"));
        let rows = rows.lines().map(|row| serde_json::from_str::<Views>(row).unwrap());
        rows.map(|Views { page, start, views, .. }| (start, page, views)).collect()
    }

    /// The job's binary with these words.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(example(JOB));
        command.args(words.split(' ')).arg("--state").arg(self.dir.path()).env_remove("MILLPOND_BROKERS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn call(&self, words: &str) -> Said {
        said(&self.command(words).output().unwrap())
    }

    /// A call that must end well. What it printed.
    pub(crate) fn well(&self, words: &str) -> String {
        let said = self.call(words);
        assert_eq!(said.code, Some(0), "{words}: {said:?}");
        said.out
    }

    /// The same with `--json`.
    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.well(&format!("{words} --json"))).unwrap()
    }

    /// Starts a version and leaves it running.
    pub(crate) fn start(&self, version: u32) -> Running {
        self.start_with(version, "")
    }

    /// The same, with these options.
    pub(crate) fn start_with(&self, version: u32, options: &str) -> Running {
        let words = format!("run --job-version {version} --checkpoint-interval 50ms {options}");
        let words = words.trim_end();
        let mut command = self.command(words);
        Running { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap() }
    }

    /// Waits until the registry says so.
    pub(crate) fn when(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let said = self.call("versions --json");
            if said.code == Some(0) {
                let value = serde_json::from_str(&said.out).unwrap();
                if holds(&value) {
                    return value;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; {said:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a version has nothing of account to read, and has committed what it had read by then.
    pub(crate) fn caught_up(&self, version: u32) {
        let standing = |registry: &Value| registry["versions"][version.to_string()]["standing"].clone();
        let near =
            |standing: &Value| standing["state"] == "running" && standing["lag"].as_u64().is_some_and(|lag| lag < 500);
        let read = self.when(&format!("version {version} caught up"), |registry| near(&standing(registry)));
        let epoch = standing(&read)["epoch"].as_u64();
        self.when(&format!("version {version} committed it"), |registry| {
            let standing = standing(registry);
            near(&standing) && standing["epoch"].as_u64() > epoch
        });
    }
}

/// A version that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn has_left(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends clicks by number.
pub(crate) fn append(log: &Log, numbers: std::ops::Range<u64>) {
    if numbers.is_empty() {
        return;
    }
    let mut writer = log.writer("feeder").unwrap();
    let claim = writer.claim(CLICKS).unwrap();
    for number in numbers.clone() {
        let click = click(number);
        let record = click.json();
        let record = Record::new(Timestamp::from_millis(click.at_ms), record.as_bytes()).key(b"u");
        writer.append(claim, (number % 2) as u32, &record).unwrap();
    }
    writer.commit(numbers.end, b"").unwrap();
}

/// A load: clicks that go on coming, a minute of them a second.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn begin(world: &World, from: u64) -> Load {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(from)));
        let (log, stopped, at) = (world.log(), Arc::clone(&stop), Arc::clone(&next));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let from = at.load(Ordering::SeqCst);
                append(&log, from..from + 25);
                at.store(from + 25, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Load { stop, next, thread: Some(thread) }
    }

    /// How many clicks there are now.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.next.load(Ordering::SeqCst)
    }
}

/// A consumer that follows the live line, and is started again from its position now and then.
pub(crate) struct Follower {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u32, Views)>>,
}

impl Follower {
    pub(crate) fn begin(world: &World) -> Follower {
        let log = world.log();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut reader: LiveReader = live(VIEWS).on(&log).unwrap();
            let mut seen = Vec::new();
            for round in 0.. {
                let rows = reader.read(Duration::from_millis(100)).unwrap();
                let last = rows.is_empty() && stopped.load(Ordering::SeqCst);
                seen.extend(
                    rows.iter().map(|row| (row.version, serde_json::from_slice(row.value.as_ref().unwrap()).unwrap())),
                );
                if last {
                    break;
                }
                if round % 20 == 19 {
                    let position = reader.position().to_string();
                    reader = live(VIEWS).from(position.parse().unwrap()).on(&log).unwrap();
                }
            }
            seen
        });
        Follower { stop, thread }
    }

    pub(crate) fn end(self) -> Vec<(u32, Views)> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Every minute of the line was seen once, whole, and as one version says.
pub(crate) fn check_line(seen: &[(u32, Views)], clicks: u64) {
    type Pages = BTreeMap<String, (u64, u64)>;
    let mut minutes: BTreeMap<i64, BTreeMap<u32, Pages>> = BTreeMap::new();
    for (version, Views { page, start, views, max_dwell }) in seen {
        let pages = minutes.entry(*start).or_default().entry(*version).or_default();
        let twice = pages.insert(page.clone(), (*views, *max_dwell));
        assert_eq!(twice, None, "page {page} of the minute from {start} was seen twice");
    }
    let models = BTreeMap::from([1, 2].map(|version| (version, model(version, clicks))));
    let last = *minutes.keys().last().unwrap();
    assert!(last > 41 * MINUTE_MS, "the line went on: {last}");
    for start in (0..=last).step_by(MINUTE_MS as usize) {
        let versions = minutes.get(&start).unwrap_or_else(|| panic!("nothing was seen of the minute from {start}"));
        assert_eq!(versions.len(), 1, "the minute from {start} was seen of two versions");
        let (version, pages) = versions.iter().next().unwrap();
        let want = models[version].iter().filter(|((from, _), _)| *from == start);
        let want: Pages = want.map(|((_, page), values)| (page.clone(), *values)).collect();
        assert_eq!(*pages, want, "the minute from {start}, of version {version}");
    }
    let versions: BTreeSet<u32> = seen.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, BTreeSet::from([1, 2]), "the line was of both");
}

/// Whether a directory is there.
pub(crate) fn is_there(world: &World, name: &str) -> bool {
    Path::new(world.dir.path()).join(name).exists()
}
