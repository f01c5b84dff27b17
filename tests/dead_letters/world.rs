//! A state directory with a log that is fed, and the job's binary on it.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millpond::Timestamp;
use millpond::log::{Log, Record, Settings, Start};
use serde_json::Value;

use crate::job::{ARGS, BUILD, COPIES, HOURS, READINGS, reading};
use crate::said::{Said, said};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    /// With this many readings in its log.
    pub(crate) fn new(readings: u64) -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.log().create_topic(READINGS, Settings::partitions(2)).unwrap();
        world.feed((0..readings).map(|number| (number, reading(number))));
        world
    }

    pub(crate) fn log(&self) -> Log {
        Log::open(self.dir.path().join("log")).unwrap()
    }

    /// Appends readings with their numbers, which choose their partitions.
    pub(crate) fn feed(&self, readings: impl Iterator<Item = (u64, Value)>) {
        let mut writer = self.log().writer("feeder").unwrap();
        let claim = writer.claim(READINGS).unwrap();
        for (number, reading) in readings {
            let (key, value) = (number.to_string(), reading.to_string());
            let at = Timestamp::from_secs(reading["at"].as_i64().unwrap());
            let headers: &[(&str, &[u8])] = &[("trace", key.as_bytes())];
            let record = Record::new(at, value.as_bytes()).key(key.as_bytes()).headers(headers);
            writer.append(claim, (number % 2) as u32, &record).unwrap();
        }
        let epoch = writer.last_commit().map_or(0, |commit| commit.epoch) + 1;
        writer.commit(epoch, b"").unwrap();
    }

    /// The job's binary in this build, with these words.
    pub(crate) fn command(&self, build: &str, words: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let words = format!("{words} --state {}", self.dir.path().display());
        command.args(["--exact", "job::be_the_job", "--nocapture"]).env(ARGS, words).env(BUILD, build);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn call(&self, build: &str, words: &str) -> Said {
        let said = said(&self.command(build, words).output().unwrap());
        // What the test harness says of itself stands around it.
        let out = said.out.lines().filter(|line| !line.is_empty() && !line.starts_with("running 1 test"));
        Said { out: out.collect::<Vec<_>>().join("\n"), ..said }
    }

    /// A call that must end well. What it printed.
    pub(crate) fn well(&self, build: &str, words: &str) -> String {
        let said = self.call(build, words);
        assert_eq!(said.code, Some(0), "{words}: {said:?}");
        said.out
    }

    /// `dead-letters` with these words and `--json`.
    pub(crate) fn letters(&self, words: &str) -> Value {
        let out = self.well("mended", &format!("dead-letters {words} --json"));
        serde_json::from_str(&out[out.find('{').unwrap()..=out.rfind('}').unwrap()]).unwrap()
    }

    /// How many letters stand how: open, asked, done, failed again, dropped.
    pub(crate) fn counts(&self) -> [u64; 5] {
        let counts = self.letters("list --limit 0")["counts"].clone();
        ["open", "asked", "done", "failed-again", "dropped"].map(|name| counts[name].as_u64().unwrap())
    }

    /// Waits until letters stand so.
    pub(crate) fn when(&self, what: &str, holds: impl Fn([u64; 5]) -> bool) {
        let begun = Instant::now();
        loop {
            let now = self.counts();
            if holds(now) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; {now:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs the build that refuses some until so many letters are open, and stops it.
    pub(crate) fn refuse(&self, letters: u64) {
        let running = self.start("broken", "");
        self.when("all letters are written", |[open, ..]| open == letters);
        running.stop();
    }

    /// A job with a hundred readings whose versions 1 and 2 have both refused seven of them.
    pub(crate) fn two_versions() -> World {
        let world = World::new(100);
        for version in 1..=2 {
            let running = world.start("broken", &format!("--job-version {version}"));
            let begun = Instant::now();
            while world.letters(&format!("list --job-version {version}"))["counts"]["open"] != 7 {
                assert!(begun.elapsed().as_secs() < 60);
            }
            running.stop();
        }
        world
    }

    /// Starts a build and leaves it running.
    pub(crate) fn start(&self, build: &str, more: &str) -> Running {
        self.start_with(build, "20ms", more)
    }

    /// The same, with this between two commits.
    pub(crate) fn start_with(&self, build: &str, interval: &str, more: &str) -> Running {
        let mut command = self.command(build, format!("run --checkpoint-interval {interval} {more}").trim());
        Running { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap() }
    }

    pub(crate) fn until_it_runs(&self) {
        let begun = Instant::now();
        while !self.call("mended", "status").out.contains("running") {
            assert!(begun.elapsed() < PATIENCE, "it never runs");
        }
    }

    /// What the job wrote, sorted: values by topic. Each copy, and of each window its numbers in their order.
    pub(crate) fn written(&self) -> BTreeMap<String, Vec<String>> {
        let topics = [COPIES, HOURS].map(|topic| {
            let mut values: Vec<_> = self.records(topic).into_iter().map(|(value, _)| value).collect();
            values.sort();
            (topic.to_owned(), values)
        });
        topics.into()
    }

    /// Every committed record of a topic: its value and its headers.
    pub(crate) fn records(&self, topic: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let mut records = Vec::new();
        for (partition, _) in (0..).zip(self.log().offsets(topic).unwrap_or_default()) {
            let mut reader = self.log().reader(topic, partition, Start::Earliest).unwrap();
            while let Some(block) = reader.read_block(1 << 20).unwrap() {
                records.extend(block.records().map(|record| {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let headers = record.headers.map(|(name, value)| (name.to_owned(), text(value)));
                    (text(record.value.unwrap_or_default()), headers.collect())
                }));
            }
        }
        records
    }
}

/// What a build that was right from the start makes of so many readings.
pub(crate) fn right(readings: u64) -> BTreeMap<String, Vec<String>> {
    let world = World::new(readings);
    world.well("mended", "run --until-end");
    assert_eq!(world.counts(), [0; 5]);
    world.written()
}

/// Fails with what is missing and what is too much.
#[track_caller]
pub(crate) fn same(seen: &BTreeMap<String, Vec<String>>, want: &BTreeMap<String, Vec<String>>) {
    for (topic, want) in want {
        let seen = &seen[topic];
        let only = |left: &[String], right: &[String]| {
            let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
            left.iter().for_each(|value| *counts.entry(value).or_default() += 1);
            right.iter().for_each(|value| *counts.entry(value).or_default() -= 1);
            counts.into_iter().filter(|(_, count)| *count > 0).map(|(value, _)| value.clone()).collect::<Vec<_>>()
        };
        let (missing, much) = (only(want, seen), only(seen, want));
        assert!(
            missing.is_empty() && much.is_empty(),
            "{topic}: {} seen of {}; missing {:?}, too much {:?}",
            seen.len(),
            want.len(),
            missing.first(),
            much.first()
        );
        assert!(!want.is_empty(), "there is something to see");
    }
}

/// A build that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it commits what is open and leaves.
    pub(crate) fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success() && self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
