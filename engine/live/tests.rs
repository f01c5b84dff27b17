//! The reader against a log in memory: versions that write, switches, switches taken back, deaths, retirements, and readers that are
//! started again from their positions, all interleaved at random. Every window is seen once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::ledger::{Added, Committed, CommittedRecord, Decide, Doomed, Own};
use crate::registry::{self, Facts, Gates, More, Output, Standing, State, Version};
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
        let world = self.0.lock().unwrap();
        Ok(world.topics.get(output).map(|topic| topic.iter().map(|rows| 0..rows.len() as u64).collect()))
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
    fn delete(&self, _: &str, outputs: &[Doomed]) -> Result<(), Fault> {
        outputs.iter().for_each(|output| drop(self.0.lock().unwrap().topics.remove(&output.topic)));
        Ok(())
    }
}

impl Memory {
    fn ends(&self, version: u32) -> Vec<u64> {
        let kept = self.kept(&at(version)).unwrap();
        kept.map_or(vec![0; 2], |kept| kept.iter().map(|kept| kept.end).collect())
    }
}

fn at(version: u32) -> String {
    format!("{OUT}.v{version}")
}

/// A job's version: it writes window `n`, of event time `n`, once its watermark has passed it. One without windows writes ahead of its
/// watermark.
struct Job {
    version: u32,
    written: i64,
    /// What it says that it has written: less while it commits.
    known: i64,
    runs: bool,
    hangs: bool,
    ahead: i64,
    run: u64,
    /// Where its output ended when somebody looked.
    before: Vec<u64>,
}

impl Job {
    fn new(version: u32, ahead: i64) -> Job {
        Job { version, written: 0, known: 0, runs: true, hangs: false, ahead, run: 1, before: vec![0; 2] }
    }

    /// The window that it writes as its `n`th: without windows records come out of order.
    fn window(&self, n: i64) -> i64 {
        if self.ahead > 0 { n ^ 1 } else { n }
    }

    fn standing(&self, memory: &Memory) -> Standing {
        let complete = Timestamp::from_secs(self.known - if self.known < 500 { self.ahead } else { 0 });
        let newest = (0..self.known).map(|n| self.window(n)).max();
        let beyond = newest.map_or(Timestamp::MIN, |newest| Timestamp::from_secs(newest).plus_micros(1));
        let outputs =
            BTreeMap::from([(OUT.to_owned(), OutputReached { complete, beyond, ..OutputReached::default() })]);
        let ends = memory.kept(&at(self.version)).unwrap().unwrap_or_default();
        Standing {
            at: 0,
            state: if self.runs { State::Running } else { State::Stopped },
            lag: Some(0),
            run: self.run.to_string(),
            epoch: self.known.unsigned_abs(),
            reached: Reached {
                watermark: complete,
                newest: Timestamp::from_secs(self.known),
                outputs,
                ..Reached::default()
            },
            ends: BTreeMap::from([(OUT.to_owned(), ends.into_iter().map(|kept| kept.end).collect())]),
            ..Standing::default()
        }
    }

    /// An epoch: some windows become real at once, in an order that only keeps to their ends within an epoch.
    fn epoch(&mut self, memory: &Memory, windows: i64) {
        let mut world = memory.0.lock().unwrap();
        let topic = world.topics.entry(at(self.version)).or_default();
        for window in (self.written..self.written + windows).rev().map(|n| self.window(n)) {
            topic[(window / 2 % 2) as usize].push(window);
        }
        self.written += windows;
        self.known = self.written;
    }

    fn beat(&self, memory: &Memory) {
        let standing = self.standing(memory);
        registry::change(memory, JOB, |entry| Ok(entry.beat(self.version, standing.clone()))).unwrap();
    }
}

/// One that writes this topic.
pub(super) fn version(at: String, settled: bool, standing: Standing) -> Version {
    let output = Output { name: OUT.into(), at, sink: OUT.into(), upsert: false, settled, id: None, more: More::new() };
    Version {
        plan: String::new(),
        shapes: BTreeMap::new(),
        build: String::new(),
        binary: String::new(),
        home: String::new(),
        from: String::new(),
        registered: Timestamp::EPOCH,
        outputs: vec![output],
        standing,
        options: BTreeMap::new(),
        compared: None,
        retiring: false,
        more: More::new(),
    }
}

fn register(memory: &Memory, job: &Job) {
    let standing = Standing { run: job.run.to_string(), ..Standing::default() };
    let version = version(at(job.version), job.ahead == 0, standing);
    registry::change(memory, JOB, |entry| entry.register(job.version, version.clone()).map(Some)).unwrap();
}

/// Deletes a version for good, if that is allowed.
fn retire(memory: &Memory, number: u32) -> bool {
    if registry::change(memory, JOB, |entry| entry.retire(number).map(Some)).is_err() {
        return false;
    }
    memory.delete("owner", &[Doomed { topic: at(number), id: None }]).unwrap();
    registry::change(memory, JOB, |entry| Ok(Some(entry.retired(number)))).unwrap();
    true
}

struct Seen {
    reader: LiveReader,
    windows: Vec<i64>,
    saved: Position,
    count: usize,
    gone: bool,
}

impl Seen {
    fn new(memory: &Memory) -> Seen {
        let reader = live(OUT).with(Arc::new(memory.clone())).unwrap();
        Seen { saved: reader.position(), reader, windows: Vec::new(), count: 0, gone: false }
    }

    fn read(&mut self) {
        match self.reader.read(Duration::ZERO) {
            Ok(rows) => self.windows.extend(rows.iter().map(|row| row.at.secs())),
            // It stood in a version that is no more, and is told.
            Err(fault) => {
                assert!(fault.exit() == Exit::Refused && fault.to_string().contains("was retired"), "{fault}");
                self.gone = true;
            }
        }
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
    // Whoever hangs gives no answer.
    let known = jobs.iter().filter(|job| !job.hangs).map(|job| (job.version, job.standing(memory)));
    let (fresh, silent): (BTreeMap<u32, Standing>, BTreeSet<u32>) =
        (known.collect(), jobs.iter().filter(|job| job.hangs).map(|job| job.version).collect());
    let mut ends =
        |output: &Output| Ok(memory.kept(&output.at)?.unwrap_or_default().iter().map(|kept| kept.end).collect());
    let mut find = |output: &Output, time| memory.find(&output.at, time);
    // As they were at some time before that, of those that did not commit just then.
    let whole = jobs.iter().filter(|job| job.runs && job.known == job.written);
    let before = whole.map(|job| ((job.version, OUT.to_owned()), job.before.clone())).collect::<BTreeMap<_, _>>();
    let gates = Gates { compared_within: None, ..Gates::default() };
    if to.is_some_and(|to| silent.contains(&to)) {
        return;
    }
    // A refusal changes nothing.
    let _ = registry::change(memory, JOB, |entry| {
        let (now, silent, before) = (Timestamp::EPOCH, &silent, &before);
        let mut facts = Facts { now, lead, fresh: &fresh, silent, before, find: &mut find, ends: &mut ends };
        let decided = match to {
            Some(to) => entry.promote(to, entry.live(), &gates, &mut facts)?,
            None => entry.rollback(entry.live().unwrap_or_default(), &mut facts)?,
        };
        Ok(decided.entry)
    });
}

fn trial(seed: u64) {
    let memory = Memory::default();
    let mut dice = Dice(seed);
    // Every third world is one of outputs without windows.
    let ahead = if seed.is_multiple_of(3) { 3 } else { 0 };
    let mut jobs: Vec<Job> = (1..=3).map(|version| Job::new(version, ahead)).collect();
    jobs.iter().for_each(|job| register(&memory, job));
    let mut readers = vec![Seen::new(&memory)];
    // Without a lead readers learn of a switch too late, again and again, and must get over that too.
    let lead = Duration::from_secs(dice.below(3) * 2);
    // What runs had to say that are over.
    let mut over: Vec<(u32, Standing)> = Vec::new();
    for _ in 0..400 {
        let one = dice.below(jobs.len() as u64) as usize;
        let reader = dice.below(readers.len() as u64) as usize;
        let job = &mut jobs[one];
        let well = job.runs && !job.hangs;
        match dice.below(20) {
            // Seen first, said later.
            0..=5 if well && job.known < job.written => job.known = job.written,
            0..=5 if well => {
                let known = job.known;
                job.epoch(&memory, 1 + dice.below(4) as i64);
                job.known = if dice.below(2) == 0 { known } else { job.known };
            }
            6..=7 if well => job.beat(&memory),
            16 => job.before = memory.ends(job.version),
            8 => {
                let to = job.version;
                switch(&memory, &jobs, Some(to), lead);
            }
            9 => switch(&memory, &jobs, None, lead),
            10 if dice.below(4) == 0 => {
                job.runs ^= true;
                (job.hangs, job.known) = (false, job.written);
                if job.runs {
                    // Another run takes over; what the last one had to say may come yet.
                    over.push((job.version, Standing { state: State::Stopped, ..job.standing(&memory) }));
                    job.run += 1;
                    register(&memory, job);
                } else if dice.below(2) == 0 {
                    job.beat(&memory);
                }
            }
            11 if readers.len() < 4 => readers.push(Seen::new(&memory)),
            12 if dice.below(2) == 0 => readers[reader].save(),
            12 => readers[reader].restart(&memory),
            13 if dice.below(2) == 0 => job.hangs ^= job.runs,
            14 if !over.is_empty() => {
                let (version, word) = over[dice.below(over.len() as u64) as usize].clone();
                registry::change(&memory, JOB, |entry| Ok(entry.beat(version, word.clone()))).unwrap();
            }
            15 if ahead == 0 && dice.below(16) == 0 && retire(&memory, job.version) => drop(jobs.remove(one)),
            _ => readers[reader].read(),
        }
        readers.retain(|seen| !seen.gone);
        if readers.is_empty() {
            readers.push(Seen::new(&memory));
        }
    }
    for job in &mut jobs {
        job.run += u64::from(!job.runs);
        (job.runs, job.hangs) = (true, false);
        register(&memory, job);
        // An even number: without windows they come in pairs.
        job.epoch(&memory, 500 - job.written.min(498) + job.written % 2);
        job.beat(&memory);
    }
    let line = registry::look(&memory, JOB).unwrap().unwrap().line;
    for (number, seen) in readers.iter_mut().enumerate() {
        // One read goes over one leg at most, and there may be hundreds that give no rows: at rest is who does not move any more.
        let (mut still, mut reads) = (0, 0);
        while still < 3 && !seen.gone {
            let before = (seen.windows.len(), seen.reader.position().to_string());
            seen.read();
            let now = (seen.windows.len(), seen.reader.position().to_string());
            still = if now == before { still + 1 } else { 0 };
            reads += 1;
            assert!(reads < 10_000, "reader {number} of seed {seed} never comes to rest");
        }
        if seen.gone {
            continue;
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
    (0..200).for_each(trial);
}

#[test]
fn a_reader_that_stands_in_a_retired_version_is_told_and_one_beyond_goes_on() {
    let memory = Memory::default();
    let mut jobs: Vec<Job> = (1..=2).map(|version| Job::new(version, 0)).collect();
    jobs.iter().for_each(|job| register(&memory, job));
    let (mut near, mut behind) = (Seen::new(&memory), Seen::new(&memory));
    jobs.iter_mut().for_each(|job| job.epoch(&memory, 10));
    behind.read();
    switch(&memory, &jobs, Some(2), Duration::from_secs(5));
    jobs.iter_mut().for_each(|job| job.epoch(&memory, 20));
    jobs.iter().for_each(|job| job.beat(&memory));
    (0..50).for_each(|_| near.read());
    assert_eq!(near.reader.version(), 2);
    assert!(retire(&memory, 1));
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
