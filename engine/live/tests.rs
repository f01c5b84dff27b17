//! The reader against a log in memory: versions that write, switches, switches taken back, deaths, retirements, and readers that are
//! started again from their positions, all interleaved at random. Every window is seen once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::ledger::{Added, Committed, CommittedRecord, Decide, Own};
use crate::registry::{self, Facts, Gates, Output, Standing, State, Version};
use crate::{OutputReached, Reached};

const OUT: &str = "out";
const JOB: &str = "views";

#[derive(Default)]
struct World {
    registry: BTreeMap<String, Vec<u8>>,
    /// Topics of two partitions: event time in seconds.
    topics: BTreeMap<String, [Vec<i64>; 2]>,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<World>>);

struct Reader {
    memory: Memory,
    topic: String,
    partition: usize,
    next: u64,
}

impl Committed for Reader {
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault> {
        let world = self.memory.0.lock().unwrap();
        let topic = world.topics.get(&self.topic).ok_or_else(|| Fault::new(Exit::Usage, "no such topic"))?;
        let rows = &topic[self.partition][self.next as usize..];
        for at in rows.iter().take(3) {
            each(CommittedRecord { offset: self.next, at: Timestamp::from_secs(*at), key: None, value: Some(b"v") });
            self.next += 1;
        }
        Ok(!rows.is_empty())
    }
    fn next(&self) -> u64 {
        self.next
    }
}

impl Ledger for Memory {
    fn name(&self) -> String {
        "memory".into()
    }
    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        Ok(self.0.lock().unwrap().registry.clone().into_iter().collect())
    }
    fn decide(&self, key: &str, decide: Decide<'_>) -> Result<(), Fault> {
        let before = self.0.lock().unwrap().registry.get(key).cloned();
        if let Some(next) = decide(before.as_deref())? {
            self.0.lock().unwrap().registry.insert(key.to_owned(), next);
        }
        Ok(())
    }
    fn append(&self, _: Own<'_>, _: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault> {
        Err(Fault::new(Exit::Usage, "not kept here"))
    }
    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .topics
            .get(output)
            .map(|topic| topic.iter().map(|rows| 0..rows.len() as u64).collect()))
    }
    fn find(&self, output: &str, time: Timestamp) -> Result<Vec<u64>, Fault> {
        let world = self.0.lock().unwrap();
        let place =
            |rows: &Vec<i64>| rows.iter().position(|at| Timestamp::from_secs(*at) >= time).unwrap_or(rows.len());
        Ok(world
            .topics
            .get(output)
            .map(|topic| topic.iter().map(|rows| place(rows) as u64).collect())
            .unwrap_or_default())
    }
    fn read(&self, output: &str, partition: u32, from: u64) -> Result<Box<dyn Committed>, Fault> {
        let (memory, topic) = (self.clone(), output.to_owned());
        Ok(Box::new(Reader { memory, topic, partition: partition as usize, next: from }))
    }
    fn wait(&self, _: Duration) {}
    fn delete(&self, _: &str, outputs: &[String]) -> Result<(), Fault> {
        outputs.iter().for_each(|output| drop(self.0.lock().unwrap().topics.remove(output)));
        Ok(())
    }
}

fn at(version: u32) -> String {
    format!("{OUT}.v{version}")
}

/// A job's version: it writes window `n`, of event time `n`, once its watermark has passed it.
struct Job {
    version: u32,
    written: i64,
    runs: bool,
}

impl Job {
    fn standing(&self, memory: &Memory) -> Standing {
        let complete = Timestamp::from_secs(self.written);
        let beyond =
            if self.written == 0 { Timestamp::MIN } else { Timestamp::from_secs(self.written - 1).plus_micros(1) };
        let outputs =
            BTreeMap::from([(OUT.to_owned(), OutputReached { complete, beyond, ..OutputReached::default() })]);
        let ends = memory.kept(&at(self.version)).unwrap().unwrap_or_default();
        Standing {
            at: 0,
            state: if self.runs { State::Running } else { State::Stopped },
            lag: Some(0),
            reached: Reached { watermark: complete, newest: complete, outputs },
            ends: BTreeMap::from([(OUT.to_owned(), ends.into_iter().map(|kept| kept.end).collect())]),
            ..Standing::default()
        }
    }

    /// An epoch: some windows become real at once, in an order that only keeps to their ends within an epoch.
    fn epoch(&mut self, memory: &Memory, windows: i64) {
        let mut world = memory.0.lock().unwrap();
        let topic = world.topics.entry(at(self.version)).or_default();
        for window in (self.written..self.written + windows).rev() {
            topic[(window % 2) as usize].push(window);
        }
        self.written += windows;
    }

    fn beat(&self, memory: &Memory) {
        let standing = self.standing(memory);
        registry::change(memory, JOB, |entry| Ok(entry.beat(self.version, standing.clone()))).unwrap();
    }
}

fn register(memory: &Memory, number: u32) {
    let version = Version {
        plan: String::new(),
        shapes: BTreeMap::new(),
        build: String::new(),
        home: String::new(),
        from: String::new(),
        registered: Timestamp::EPOCH,
        outputs: vec![Output { name: OUT.into(), at: at(number), sink: OUT.into(), upsert: false, settled: true }],
        standing: Standing::default(),
        compared: None,
        retiring: false,
    };
    registry::change(memory, JOB, |entry| entry.register(number, version.clone()).map(Some)).unwrap();
}

struct Seen {
    reader: LiveReader,
    windows: Vec<i64>,
    saved: Position,
    count: usize,
}

impl Seen {
    fn new(memory: &Memory) -> Seen {
        let reader = live(OUT).with(Arc::new(memory.clone())).unwrap();
        Seen { saved: reader.position(), reader, windows: Vec::new(), count: 0 }
    }

    fn read(&mut self) {
        let rows = self.reader.read(Duration::ZERO).unwrap();
        self.windows.extend(rows.iter().map(|row| row.at.secs()));
    }

    fn save(&mut self) {
        (self.saved, self.count) = (self.reader.position().to_string().parse().unwrap(), self.windows.len());
    }

    /// It dies; what it had done since it saved its position is undone, as a consumer that keeps both together does.
    fn restart(&mut self, memory: &Memory) {
        self.windows.truncate(self.count);
        self.reader = live(OUT).from(self.saved.clone()).with(Arc::new(memory.clone())).unwrap();
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn switch(memory: &Memory, jobs: &[Job], to: Option<u32>, lead: Duration) {
    let fresh: BTreeMap<u32, Standing> = jobs.iter().map(|job| (job.version, job.standing(memory))).collect();
    let mut find = |output: &Output, time| memory.find(&output.at, time);
    let gates = Gates { compared_within: None, ..Gates::default() };
    // A refusal changes nothing.
    let _ = registry::change(memory, JOB, |entry| {
        let mut facts = Facts { now: Timestamp::EPOCH, lead, fresh: &fresh, find: &mut find };
        let decided = match to {
            Some(to) => entry.promote(to, entry.live(), &gates, &mut facts)?,
            None => entry.rollback(&mut facts)?,
        };
        Ok(decided.entry)
    });
}

fn trial(seed: u64) {
    let memory = Memory::default();
    let mut dice = Dice(seed);
    let mut jobs: Vec<Job> = (1..=3).map(|version| Job { version, written: 0, runs: true }).collect();
    jobs.iter().for_each(|job| register(&memory, job.version));
    let mut readers = vec![Seen::new(&memory)];
    // Without a lead readers learn of a switch too late, again and again, and must get over that too.
    let lead = Duration::from_secs(dice.below(3) * 2);
    for _ in 0..400 {
        let one = dice.below(3) as usize;
        match dice.below(16) {
            0..=5 if jobs[one].runs => {
                let most = 1 + dice.below(4) as i64;
                jobs[one].epoch(&memory, most);
            }
            6..=7 => jobs[one].beat(&memory),
            8 => switch(&memory, &jobs, Some(one as u32 + 1), lead),
            9 => switch(&memory, &jobs, None, lead),
            10 if dice.below(4) == 0 => {
                jobs[one].runs ^= true;
                jobs[one].beat(&memory);
            }
            11 if readers.len() < 4 => readers.push(Seen::new(&memory)),
            12 => {
                let reader = dice.below(readers.len() as u64) as usize;
                if dice.below(2) == 0 { readers[reader].save() } else { readers[reader].restart(&memory) }
            }
            _ => {
                let reader = dice.below(readers.len() as u64) as usize;
                readers[reader].read();
            }
        }
    }
    for job in &mut jobs {
        job.runs = true;
        job.epoch(&memory, 500 - job.written.min(499));
        job.beat(&memory);
    }
    let line = registry::look(&memory, JOB).unwrap().unwrap().line;
    for (number, seen) in readers.iter_mut().enumerate() {
        // One read goes over one leg at most, and there may be hundreds that give no rows: at rest is who does not move any more.
        let (mut still, mut reads) = (0, 0);
        while still < 3 {
            let before = (seen.windows.len(), seen.reader.position().to_string());
            seen.read();
            let now = (seen.windows.len(), seen.reader.position().to_string());
            still = if now == before { still + 1 } else { 0 };
            reads += 1;
            assert!(reads < 10_000, "reader {number} of seed {seed} never comes to rest");
        }
        let distinct: BTreeSet<i64> = seen.windows.iter().copied().collect();
        let text =
            || format!("seed {seed}, reader {number}, lead {lead:?}: {:?}\n{line:?}\n{:?}", seen.windows, seen.reader);
        assert_eq!(distinct.len(), seen.windows.len(), "a window twice, {}", text());
        assert!((0..500).all(|window| distinct.contains(&window)), "a window is missing, {}", text());
    }
}

#[test]
fn every_reader_sees_every_window_once_whatever_is_switched_and_whoever_dies() {
    (0..40).for_each(trial);
}

#[test]
fn a_reader_that_stands_in_a_retired_version_is_told_and_one_beyond_goes_on() {
    let memory = Memory::default();
    let mut jobs: Vec<Job> = (1..=2).map(|version| Job { version, written: 0, runs: true }).collect();
    jobs.iter().for_each(|job| register(&memory, job.version));
    let (mut near, mut behind) = (Seen::new(&memory), Seen::new(&memory));
    jobs.iter_mut().for_each(|job| job.epoch(&memory, 10));
    behind.read();
    switch(&memory, &jobs, Some(2), Duration::from_secs(5));
    jobs.iter_mut().for_each(|job| job.epoch(&memory, 20));
    jobs.iter().for_each(|job| job.beat(&memory));
    (0..50).for_each(|_| near.read());
    assert_eq!(near.reader.version(), 2);
    registry::change(&memory, JOB, |entry| entry.retire(1).map(Some)).unwrap();
    memory.delete("views@1", &[at(1)]).unwrap();
    registry::change(&memory, JOB, |entry| Ok(Some(entry.retired(1)))).unwrap();
    let told = (0..50).find_map(|_| behind.reader.read(Duration::ZERO).err()).expect("it is told");
    assert_eq!(told.exit(), Exit::Refused);
    assert!(told.to_string().contains("was retired while this reader"), "{told}");
    jobs[1].epoch(&memory, 5);
    (0..50).for_each(|_| near.read());
    assert_eq!(near.windows.iter().copied().collect::<BTreeSet<_>>(), (0..35).collect());
    assert_eq!(near.windows.len(), 35);
    let mut fresh = Seen::new(&memory);
    (0..50).for_each(|_| fresh.read());
    assert_eq!(fresh.windows.len(), 35, "who begins now reads all of it from version 2");
}
