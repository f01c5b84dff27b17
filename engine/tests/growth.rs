//! Partitions that are added to a source: while a job runs and while it does not, on any number of workers, each record once.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millpond_engine::sink::{Encode, Follower, Opened, OutRecord, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::source::{Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond_engine::{Batch, Draw, Env, Exit, Fault, Line, Record, Run, Running, Untimed};
use millpond_state::Timestamp;

/// A log in memory to which records and partitions are added.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Topic>>);

#[derive(Default)]
struct Topic {
    print: String,
    /// Offsets behind each partition's end that belong to an open transaction.
    open: u64,
    /// Partitions up to this number have nothing to read just now.
    held: usize,
    /// How many partitions are shown to who looks; all, when it is none.
    shown: usize,
    parts: Vec<Vec<i64>>,
    wakers: Vec<Waker>,
}

impl World {
    fn add(&self, part: Vec<i64>) {
        self.0.lock().unwrap().parts.push(part);
    }
    fn append(&self, part: usize, rows: std::ops::Range<i64>) {
        let mut topic = self.0.lock().unwrap();
        topic.parts[part].extend(rows);
        topic.wakers.iter().for_each(Waker::wake);
    }
    fn expected(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.0.lock().unwrap().parts.iter().flatten().copied().collect();
        all.sort_unstable();
        all
    }
}

impl Untimed for World {
    type Item = i64;
    type Reader = WorldReader;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "world".into(), from: "memory".into(), bounded: false, bound_micros: 0 }
    }
    fn grows(&self) -> bool {
        true
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        let topic = self.0.lock().unwrap();
        if topic.print == "gone" {
            return Err(Fault::new(Exit::Usage, "there is no such topic").missing());
        }
        if topic.print == "forbidden" {
            return Err(Fault::new(Exit::Usage, "who may read it is somebody else"));
        }
        let part = |(p, part): (usize, &Vec<i64>)| Partition {
            partition: p as u32,
            start: 0,
            end: part.len() as u64,
            fingerprint: topic.print.clone(),
        };
        let shown = if topic.shown == 0 { topic.parts.len() } else { topic.shown };
        Ok(topic.parts.iter().take(shown).enumerate().map(part).collect())
    }
    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<WorldReader, Fault> {
        self.0.lock().unwrap().wakers.push(waker);
        let mut reader = WorldReader { world: self.clone(), slots: Vec::new() };
        assigned.iter().try_for_each(|assigned| reader.add(assigned))?;
        Ok(reader)
    }
}

struct WorldReader {
    world: World,
    /// Partition, next offset, end.
    slots: Vec<(usize, u64, usize)>,
}

impl Reader<i64> for WorldReader {
    fn add(&mut self, assigned: &Assigned) -> Result<(), Fault> {
        let end = assigned.end.map_or(usize::MAX, |end| end as usize);
        self.slots.push((assigned.partition as usize, assigned.next, end));
        Ok(())
    }
    fn read<C: Collect<i64>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let (part, next, end) = &mut self.slots[slot];
        let topic = self.world.0.lock().unwrap();
        if *part < topic.held {
            return Ok(Read::Later);
        }
        let all = &topic.parts[*part];
        let rows = &all[*next as usize..all.len().min(*end)];
        for row in rows.iter().take(most) {
            let at = Timestamp::from_secs(*row);
            into.take(Arrival { offset: *next, stamp: at, logged: Timestamp::MAX, bytes: 8 }, *row);
            *next += 1;
        }
        Ok(match rows.len() > most {
            true => Read::More,
            false if *next as usize >= *end => Read::Finished,
            false => Read::AtEnd,
        })
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.slots[slot].1 = offset;
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, slot: usize) -> Option<u64> {
        Some(self.world.0.lock().unwrap().parts[self.slots[slot].0].len() as u64)
    }
    fn log_end(&mut self, slot: usize) -> Option<u64> {
        let end = self.end(slot)?;
        Some(end + self.world.0.lock().unwrap().open)
    }
}

/// Keeps what is decided: each record, and what its partition's watermark was.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(i64, i64)>>>);

impl Seen {
    fn sorted(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.0.lock().unwrap().iter().map(|(row, _)| *row).collect();
        all.sort_unstable();
        all
    }
}
impl Sink<(i64, i64)> for Seen {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "seen".into(), to: "memory".into() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(self.clone())
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<(i64, i64)>> {
        Box::new(self.clone())
    }
}
impl Encode<(i64, i64)> for Seen {
    fn encode(&mut self, batch: &mut Batch<(i64, i64)>, out: &mut Outgoing) -> Result<(), Fault> {
        for Record { at, value, .. } in batch.rows.drain(..) {
            let bytes = [value.0.to_le_bytes(), value.1.to_le_bytes()].concat();
            let put = |to: &mut Vec<u8>| {
                to.extend_from_slice(&bytes);
                Ok::<_, Fault>(true)
            };
            out.push(at, |_| Ok(false), put, |_, _| 0)?;
        }
        Ok(())
    }
}
impl System for Seen {
    fn identity(&self) -> String {
        format!("seen:{:p}", Arc::as_ptr(&self.0))
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(self.clone())))
    }
}
impl Follower for Seen {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
        let row = |r: OutRecord<'_>| (number(&r.value.unwrap()[..8]), number(&r.value.unwrap()[8..]));
        self.0.lock().unwrap().extend(outgoing.records().map(row));
        Ok(())
    }
}

fn job(world: &World, out: &Seen) -> Arc<Draw> {
    let (world, out) = (world.clone(), out.clone());
    Arc::new(move |graph, _| {
        let line = Line::source(graph, "in", world.clone().log_time().out_of_order(Duration::from_secs(1)));
        let seen = line.step("seen", |batch: &mut Batch<i64>, done: &mut Batch<(i64, i64)>| {
            let row = |r: Record<i64>| Record { at: r.at, seen: r.seen, value: (r.value, r.seen.micros()) };
            done.rows.extend(batch.rows.drain(..).map(row));
        });
        seen.sink("out", out.clone());
        Ok(())
    })
}

fn start(dir: &std::path::Path, workers: usize, draw: &Arc<Draw>) -> Running {
    let mut run = Run::new("growth", 1, dir);
    run.workers = workers;
    run.interval = Duration::from_millis(5);
    run.tuning.batch = 7;
    run.tuning.look = Duration::from_millis(10);
    millpond_engine::start(run, Arc::clone(draw)).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} never comes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_record_of_an_added_partition_counts_once_whenever_it_was_added() {
    for workers in [1, 2, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (world, out) = (World::default(), Seen::default());
        world.add((0..100).collect());
        let draw = job(&world, &out);
        for round in 1..4 {
            let running = start(dir.path(), workers, &draw);
            until("the first", || out.sorted() == world.expected());
            // Two while it runs, one after the other, and one that stays empty for now.
            world.add((round * 10_000..round * 10_000 + 100).collect());
            until("what was added", || out.sorted() == world.expected());
            world.add(Vec::new());
            world.add((round * 20_000..round * 20_000 + 50).collect());
            until("what was added then", || out.sorted() == world.expected());
            let parts = 1 + 4 * (round as usize - 1) + 3;
            until("its status", || running.status().partitions.len() == parts);
            for part in 0..parts {
                world.append(part, round * 100_000 + part as i64 * 100..round * 100_000 + part as i64 * 100 + 20);
            }
            until("what came to all", || out.sorted() == world.expected());
            running.stop();
            running.join().unwrap();
            // And one while it does not.
            world.add((round * 30_000..round * 30_000 + 30).collect());
        }
        let running = start(dir.path(), workers + 1, &draw);
        until("the last", || out.sorted() == world.expected());
        assert!(running.status().partitions.iter().all(|partition| partition.lag == Some(0)), "{:?}", running.status());
        running.stop();
        running.join().unwrap();
        assert_eq!(out.sorted(), world.expected());
        // Nobody had promised the end of time: no record is late for that.
        assert!(out.0.lock().unwrap().iter().all(|(_, seen)| *seen < Timestamp::LAST.micros()));
    }
}

#[test]
fn what_waits_for_a_transaction_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (world, out) = (World::default(), Seen::default());
    world.add((0..100).collect());
    world.0.lock().unwrap().open = 7;
    let running = start(dir.path(), 1, &job(&world, &out));
    let stands = |standing: &str, open| {
        let status = running.status();
        status.partitions[0].standing == standing && status.partitions[0].in_open_transactions == open
    };
    until("the wait", || stands("waits for a transaction", 7));
    assert_eq!(running.status().partitions[0].lag, Some(0), "nothing of it can be read");
    world.0.lock().unwrap().open = 0;
    world.append(0, 100..107);
    until("the end of it", || stands("at end", 0) && out.sorted() == world.expected());
    running.stop();
    running.join().unwrap();
}

#[test]
fn a_run_with_an_end_has_the_partitions_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let (world, out) = (World::default(), Seen::default());
    world.add((0..100).collect());
    let draw = job(&world, &out);
    for _ in 0..2 {
        let mut run = Run::new("growth", 1, dir.path());
        run.until_end = true;
        assert!(millpond_engine::start(run, Arc::clone(&draw)).unwrap().join().unwrap().finished);
        world.add((200..300).collect());
    }
    assert_eq!(out.sorted(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_run_with_an_end_goes_on_without_one_unless_a_partition_has_reached_it() {
    for reached in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (world, out) = (World::default(), Seen::default());
        world.add((0..100).collect());
        world.add((100..200).collect());
        world.0.lock().unwrap().held = if reached { 1 } else { 2 };
        let draw = job(&world, &out);
        let with_end = || Run { until_end: true, ..Run::new("growth", 1, dir.path()) };
        let running = millpond_engine::start(with_end(), Arc::clone(&draw)).unwrap();
        until("what can be read", || out.sorted().len() == usize::from(reached) * 100);
        running.stop();
        assert!(!running.join().unwrap().finished);
        world.0.lock().unwrap().held = 0;
        world.append(0, 200..300);
        if reached {
            let fault = millpond_engine::start(Run::new("growth", 1, dir.path()), Arc::clone(&draw)).unwrap_err();
            assert_eq!(fault.exit(), Exit::Usage);
            assert!(fault.to_string().contains("partition 1") && fault.to_string().contains("--until-end"), "{fault}");
            assert!(millpond_engine::start(with_end(), draw).unwrap().join().unwrap().finished);
            assert_eq!(out.sorted(), (0..200).collect::<Vec<_>>(), "up to the ends of the first start");
        } else {
            let running = start(dir.path(), 1, &draw);
            until("all", || out.sorted() == world.expected());
            running.stop();
            assert!(!running.join().unwrap().finished);
        }
    }
}

#[test]
fn an_input_that_is_gone_or_made_again_or_forbidden_stops_the_job_while_it_runs() {
    // With an end too, which is waited for in vain otherwise.
    for until_end in [false, true] {
        for (print, exit, text) in [
            ("gone", Exit::Restore, "source \"in\" is no longer there"),
            ("other", Exit::Restore, "it was made again under the same name"),
            ("forbidden", Exit::Usage, "source \"in\" can no longer be read"),
            ("shorter", Exit::Restore, "partition 1 is in the checkpoint and no longer there"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (world, out) = (World::default(), Seen::default());
            world.add((0..100).collect());
            world.add((100..200).collect());
            {
                let mut topic = world.0.lock().unwrap();
                "one".clone_into(&mut topic.print);
                topic.held = 1;
            }
            let mut run = Run { until_end, ..Run::new("growth", 1, dir.path()) };
            run.tuning.look = Duration::from_millis(10);
            let running = millpond_engine::start(run, job(&world, &out)).unwrap();
            until("what can be read", || out.sorted().len() == 100);
            {
                let mut topic = world.0.lock().unwrap();
                match print {
                    "shorter" => topic.shown = 1,
                    print => print.clone_into(&mut topic.print),
                }
            }
            until("the end", || running.ended());
            let fault = running.join().unwrap_err();
            assert_eq!(fault.exit(), exit, "{fault}");
            assert!(fault.to_string().contains(text), "{fault}");
        }
    }
}
