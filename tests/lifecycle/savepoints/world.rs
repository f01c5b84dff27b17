//! A state directory with hits in its log, and the binary of the job that is saved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use millpond::Timestamp;
use millpond::log::{Log, Record, Settings, Start};
use serde_json::Value;

use super::job::{ARGS, DRAWN, HITS, hit};
use crate::said::{Said, said};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: u64 = 3;
/// Outputs of which each row is written once. Of late hits there are few.
pub(super) const ONCE: [&str; 5] = ["sums", "slides", "visits", "copies", "late"];

pub(super) struct World {
    dir: tempfile::TempDir,
}

/// Killed when it is dropped.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    pub(super) fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        let log = world.log();
        log.create_topic("hits", Settings::partitions(PARTITIONS as u32)).unwrap();
        let mut writer = log.writer("feeder").unwrap();
        let claim = writer.claim("hits").unwrap();
        for number in 0..HITS {
            let value = serde_json::to_vec(&hit(number)).unwrap();
            let record = Record::new(Timestamp::from_secs(hit(number).2), &value);
            writer.append(claim, (number % PARTITIONS) as u32, &record).unwrap();
        }
        writer.commit(HITS, b"").unwrap();
        world
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> Log {
        Log::open(self.path("log")).unwrap()
    }

    pub(super) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "savepoints::job::be_the_job", "--nocapture"]);
        command.env(ARGS, format!("{words} --state {}", self.dir.path().display())).env_remove(DRAWN);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(super) fn call(&self, words: &str) -> Said {
        self.call_drawn("", words)
    }

    /// The job drawn in another way.
    pub(super) fn call_drawn(&self, drawn: &str, words: &str) -> Said {
        said(&self.command(words).env(DRAWN, drawn).output().unwrap())
    }

    pub(super) fn well(&self, words: &str) -> String {
        let said = self.call(words);
        assert_eq!(said.code, Some(0), "{words}: {said:?}");
        said.out
    }

    pub(super) fn refused(&self, words: &str, code: i32, part: &str) {
        let said = self.call(words);
        assert_eq!(said.code, Some(code), "{words}: {said:?}");
        assert!(said.err.contains(part) && said.err.contains("help: "), "{words}: {said:?}");
    }

    /// Version 1, reading so slowly that something can be done meanwhile. It does not end: however busy the machine is, there is one to save.
    pub(super) fn start(&self, rate: u64) -> Running {
        let words = format!("run --checkpoint-interval 20ms --workers 2 --throttle {rate}");
        Running(self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until version 1 has committed about so many hits.
    pub(super) fn committed(&self, hits: i64) {
        let begun = Instant::now();
        loop {
            let said = self.call("status --json");
            // A hit a second.
            if json(&said.out)["reached"]["newest"].as_i64().is_some_and(|newest| newest >= hits * 1_000_000) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{said:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Version 1 as it was killed in the middle, and a savepoint of it in `saved`.
    pub(super) fn saved() -> World {
        let world = World::new();
        let first = world.start(15_000);
        world.committed(9_000);
        drop(first);
        world.well(&format!("savepoint {}", world.path("saved").display()));
        world
    }

    /// A version from the savepoint `saved`, to its end.
    pub(super) fn from_saved(version: u32, world: &World) -> String {
        format!(
            "replay {version} --from-savepoint {} --until-end --checkpoint-interval 20ms --workers 3",
            world.path("saved").display()
        )
    }

    /// What a version has committed to an output, each row with the epoch it was committed in.
    fn rows(&self, version: u32, output: &str) -> Vec<(u64, String)> {
        let topic = if version == 1 { output.to_owned() } else { format!("{output}.v{version}") };
        let log = self.log();
        let Ok(found) = log.topic(&topic) else { return Vec::new() };
        let mut rows = Vec::new();
        for partition in 0..found.settings.partition_count() {
            let mut reader = log.reader(&topic, partition, Start::Earliest).unwrap();
            while let Some(block) = reader.read_block(1 << 20).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                rows.extend(block.records().map(|record| {
                    let (_, origin) = record.headers.clone().find(|(name, _)| *name == "millpond").unwrap();
                    let origin = text(origin);
                    let (_, epoch) = origin.rsplit_once(' ').unwrap();
                    (epoch.parse().unwrap(), text(record.value.unwrap()))
                }));
            }
        }
        rows
    }

    /// The rows of the version itself, and before them those that version 1 wrote until the savepoint.
    fn both(&self, version: u32, until: u64, output: &str) -> (Vec<String>, Vec<String>) {
        let before = self.rows(1, output).into_iter().filter(|(epoch, _)| *epoch <= until);
        let mut before: Vec<_> = before.map(|(_, row)| row).collect();
        before.sort();
        (before, self.sorted(version, output))
    }

    /// The epoch whose state the version began with.
    fn saved_epoch(&self, version: u32) -> u64 {
        let status = json(&self.well(&format!("status --job-version {version} --json")));
        let (_, epoch) = status["savepoint"].as_str().unwrap().rsplit_once('-').unwrap();
        epoch.parse().unwrap()
    }

    pub(super) fn sorted(&self, version: u32, output: &str) -> Vec<String> {
        let mut rows: Vec<_> = self.rows(version, output).into_iter().map(|(_, row)| row).collect();
        rows.sort();
        rows
    }

    /// Version 1 before the savepoint and another version after it are what an undisturbed run writes, byte for byte, each row once.
    pub(super) fn check(&self, version: u32, outputs: &[&str]) {
        let (want, epoch) = (undisturbed(), self.saved_epoch(version));
        for output in outputs {
            let (before, after) = self.both(version, epoch, output);
            let mut all = [&before[..], &after[..]].concat();
            all.sort();
            let found =
                format!("{output}: {} and {} rows, {} wanted", before.len(), after.len(), want.rows[*output].len());
            assert!(all == want.rows[*output], "{found}");
            // It may have read everything by then, but for what windows that are open will say.
            assert!(!before.is_empty() && (!after.is_empty() || matches!(*output, "copies" | "late")), "{found}");
        }
        let (before, after) = self.both(version, epoch, "totals");
        assert_eq!(totals(before.into_iter().chain(after)), want.totals);
    }
}

/// The greatest count of each key.
fn totals(rows: impl IntoIterator<Item = String>) -> BTreeMap<u64, u64> {
    let mut totals = BTreeMap::new();
    for row in rows {
        let (key, count): (u64, u64) = serde_json::from_str(&row).unwrap();
        totals.entry(key).and_modify(|most: &mut u64| *most = count.max(*most)).or_insert(count);
    }
    totals
}

/// What version 1 writes when nothing happens to it.
pub(super) struct Undisturbed {
    pub(super) rows: BTreeMap<&'static str, Vec<String>>,
    pub(super) totals: BTreeMap<u64, u64>,
}

pub(super) fn undisturbed() -> &'static Undisturbed {
    static WHOLE: OnceLock<Undisturbed> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let world = World::new();
        world.well("run --until-end");
        let rows = ONCE.map(|output| (output, world.sorted(1, output)));
        Undisturbed { rows: rows.into(), totals: totals(world.sorted(1, "totals")) }
    })
}

/// The JSON in what a call printed.
pub(super) fn json(out: &str) -> Value {
    let (Some(from), Some(to)) = (out.find('{'), out.rfind('}')) else { return Value::Null };
    serde_json::from_str(&out[from..=to]).unwrap()
}

/// The names in a folder.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let found = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
